"""Flow `explain`: pictures of what a network looked at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from prefect import flow

from data.dataset import ReasonCount
from flows.results import ExplainResult
from flows.settings import open_workspace
from models.bundle import open_bundle
from tasks import explain as tasks


@flow(name="explain", flow_run_name="{bundle}")
def explain(bundle: str, images: list[str], out: str | None = None, workspace: str | None = None) -> ExplainResult:
    """Draw Grad-CAM heat maps of the predicted class.

    Args:
        bundle: A name (newest version), name@version, or a path.
        images: Image files.
        out: Folder for the pictures; None takes report/explain in the bundle.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    folder = open_workspace(workspace).find_model(bundle)
    opened = open_bundle(folder)
    target = Path(out).expanduser().resolve() if out else opened.report_folder / "explain"
    done = tasks.explain_images(folder, [Path(image) for image in images], target)
    reasons = Counter(item.reason for item in done if item.reason)
    return ExplainResult(
        bundle=opened.reference,
        folder=str(target),
        pictures=tuple(str(item.picture) for item in done if item.picture),
        set_aside=tuple(ReasonCount(reason=reason, num_files=reasons[reason]) for reason in sorted(reasons)),
    )
