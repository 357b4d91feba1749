"""Flow `explain`: what a network looks at, in pictures."""

from __future__ import annotations

from darkroom.flows.descriptions import describe
from darkroom.flows.results import ExplainResult
from darkroom.flows.settings import decoder_rule, local_copy, open_folder, open_workspace
from darkroom.flows.up_to_date import explain_command
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.explaining.explain import explanation_folder, find_searched
from darkroom.models.explaining.techniques.maximally_activating import MAX_SEARCHED
from darkroom.tasks import explain as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.pages import link_pages


@flow(name="explain", flow_run_name="{bundle}")
def explain(
    bundle: str,
    images: list[str],
    out: str | None = None,
    dataset: str | None = None,
    max_searched: int = MAX_SEARCHED,
    workspace: str | None = None,
) -> ExplainResult:
    """Show Grad-CAM, occlusion and activations for images; filters, classes and channels for the network.

    Args:
        bundle: A name (newest version), name@version, or a path.
        images: Image files, or their URLs.
        out: Folder or URL for the pictures and the page; None takes a folder for these images in the model's report.
        dataset: Searched for the images that activate a channel most; None takes the one the model was trained on,
            where it is in the workspace.
        max_searched: About how many of its training images are searched; 0 leaves them out.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    folder = place.find_model(bundle)
    opened = open_bundle(folder)
    files = [local_copy(image) for image in images]
    target, at = open_folder(out, explanation_folder(opened, [str(file.resolve()) for file in files]), place)
    searched = find_searched(place, dataset, opened.card.dataset)
    command = explain_command(opened)
    done = tasks.explain_images(folder, files, target, command, searched, max_searched, decoder_rule())
    at.replace(target, done.page.name)
    link_pages(folder, place)
    result = ExplainResult.of(done, opened.reference)
    show_result(describe(result), "explanation", opened.card.name)
    return result
