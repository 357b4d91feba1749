"""Tasks of the explain flow."""

from __future__ import annotations

from pathlib import Path

from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.explaining import explain
from darkroom.models.explaining.explain import Explained, ExplainRequest
from darkroom.tasks.decorators import task
from darkroom.tasks.progress import watcher


@task()
def explain_images(request: ExplainRequest) -> Explained:
    """Draw what the network looks at, and the page."""
    return explain.explain_images(request, watcher())


@task()
def choose_examples(bundle: Path, folder: Path) -> list[str]:
    """The files of the report's worst mistakes and most confident correct predictions."""
    return [str(folder / path) for path in explain.choose_examples(open_bundle(bundle))]
