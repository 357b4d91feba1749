"""Flow `explain`: pictures of what a network looks at."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.results import ExplainResult
from flows.settings import open_workspace
from models.bundle import open_bundle
from models.exciting import MAX_SEARCHED
from tasks import explain as tasks


@flow(name="explain", flow_run_name="{bundle}")
def explain(
    bundle: str,
    images: list[str],
    out: str | None = None,
    dataset: str | None = None,
    max_searched: int = MAX_SEARCHED,
    workspace: str | None = None,
) -> ExplainResult:
    """Draw Grad-CAM, occlusion and activations for images; filters, classes and channels for the network.

    Args:
        bundle: A name (newest version), name@version, or a path.
        images: Image files.
        out: Folder for the pictures and the page; None takes report/explain in the bundle.
        dataset: Where the images that excite a channel are looked for; None takes the one that the model was trained
            from, if it is there.
        max_searched: About how many of its training images are looked at; 0 leaves them out.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    folder = place.find_model(bundle)
    opened = open_bundle(folder)
    target = Path(out).expanduser().resolve() if out else opened.report_folder / "explain"
    searched = tasks.find_searched(place, dataset, opened.card.dataset)
    command = f"darkroom explain {opened.reference} IMAGE..."
    done = tasks.explain_images(folder, [Path(image) for image in images], target, command, searched, max_searched)
    return ExplainResult.of(done, opened.reference)
