"""Tasks of the explain flow."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from models import explain
from models.bundle import open_bundle
from models.explain import Explained


@task(cache_policy=NO_CACHE)
def explain_images(bundle: Path, images: list[Path], out: Path) -> list[Explained]:
    """Draw what the network looked at."""
    return explain.explain_images(open_bundle(bundle), images, out)


@task(cache_policy=NO_CACHE)
def choose_examples(bundle: Path, folder: Path) -> list[str]:
    """The worst mistakes and a few good ones of the bundle's report, as paths of files."""
    return [str(folder / path) for path in explain.choose_examples(open_bundle(bundle))]
