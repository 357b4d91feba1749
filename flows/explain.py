"""Flow `explain`: what a network looks at, in pictures."""

from __future__ import annotations

from darkroom.data.stores.version_locks import in_use
from darkroom.flows.descriptions import describe
from darkroom.flows.form_types import NotNegative
from darkroom.flows.requested import explain_request
from darkroom.flows.results import ExplainResult
from darkroom.flows.settings import local_copy, open_workspace
from darkroom.models.explaining.techniques.maximally_activating import MAX_SEARCHED
from darkroom.tasks import explain as tasks
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow
from darkroom.tasks.pages import link_pages


@flow(name="explain", flow_run_name="{bundle} {date}")
def explain(
    bundle: str,
    images: list[str],
    out: str | None = None,
    dataset: str | None = None,
    max_searched: NotNegative = MAX_SEARCHED,
    workspace: str | None = None,
) -> ExplainResult:
    """Show Grad-CAM, occlusion and activations for images; filters, classes and channels for the network.

    Args:
        bundle: A name (the blessed version, else the newest), name@newest, name@blessed, name@version, or a path.
        images: Required. Image files, or their URLs.
        out: Folder or URL for the pictures and the page; None takes a folder for these images in the model's report.
        dataset: Searched for the images that activate a channel most; None takes the one the model was trained on,
            where it is in the workspace.
        max_searched: About how many of its training images are searched; 0 leaves them out.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    found = place.choose_model(bundle)
    folder = found.folder
    files = [local_copy(image) for image in images]
    request, at = explain_request(folder, files, out, dataset, max_searched, place)
    with in_use(place, folder, request.dataset.folder if request.dataset else None):
        done = tasks.explain_images(request)
        at.replace(request.out, done.page.name)
    link_pages(folder, place)
    result = ExplainResult.of(done, request.bundle.reference, found.choice)
    show_result(describe(result), "explanation", request.bundle.card.name)
    return result
