"""Tasks of the explain flow."""

from __future__ import annotations

from pathlib import Path

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.settings import DecoderMismatch
from darkroom.models.bundle.bundle import open_bundle
from darkroom.models.explaining import explain
from darkroom.models.explaining.explain import Explained
from darkroom.tasks.decorators import task
from darkroom.tasks.progress import watcher


@task()
def explain_images(
    bundle: Path,
    images: list[Path],
    out: Path,
    generated_by: str,
    dataset: Path | None,
    max_searched: int,
    decoder_mismatch: DecoderMismatch = "warn",
) -> Explained:
    """Draw what the network looks at, and the page."""
    opened = open_dataset(dataset) if dataset else None
    return explain.explain_images(
        open_bundle(bundle), images, out, generated_by, opened, max_searched, decoder_mismatch, watcher()
    )


@task()
def choose_examples(bundle: Path, folder: Path) -> list[str]:
    """The files of the report's worst mistakes and most confident correct predictions."""
    return [str(folder / path) for path in explain.choose_examples(open_bundle(bundle))]
