"""What may go from a workspace: versions that nothing depends on, and caches that are made again when needed.

Of each name the newest versions stay. What stays whatever its age: the blessed version and the one that a rollback
would lead to, a model that made a table or is the best of an experiment, the data set of a model that stays, and what a
run is using. Tables, inspections and experiments are never removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import FormatError, SettingError
from darkroom.data.files.atomic import remove_folder
from darkroom.data.files.cards import read_card
from darkroom.data.stores.version_locks import alone
from darkroom.data.stores.workspace import BUNDLE_CARD, DATASET_CARD, EXPERIMENT_CARD, Workspace
from darkroom.models.bundle.blessed import held, is_whole_version, read_blessed
from darkroom.models.bundle.bundle import SCHEMA_VERSION as BUNDLE_SCHEMA
from darkroom.models.bundle.bundle import BundleCard
from darkroom.models.experiments.experiment import SCHEMA_VERSION as EXPERIMENT_SCHEMA
from darkroom.models.experiments.experiment import ExperimentCard
from darkroom.models.inventory.entries import reference, size_of, table_entries, versions

logger = logging.getLogger(__name__)

_FEATURES = "features"

_VERSIONS = {"model": BUNDLE_CARD, "data set": DATASET_CARD}

Kind = Literal["model", "data set", "features", "source"]


class Removal(BaseModel):
    """Something that may go.

    Attributes:
        kind: What it is.
        name: `name@version`, or the name of a source's folder.
        folder: Its folder.
        num_bytes: What it takes on this machine's disk.
        removed: Whether it was removed; False before, and where a run uses it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    name: str
    folder: str
    num_bytes: int
    removed: bool = False


def plan_cleaning(place: Workspace, keep: int, caches: bool) -> tuple[Removal, ...]:
    """What may go; nothing is changed.

    Args:
        place: The workspace.
        keep: Newest versions of each name that stay, at least 1.
        caches: Also what is made again when it is needed: features of data sets, and unpacked or downloaded sources.

    Raises:
        SettingError: where `keep` is less than 1.
        FormatError: where a card is damaged, so that what depends on what is not known.
    """
    if keep < 1:
        raise SettingError(f"--keep {keep} would remove the newest versions too. Keep at least 1.")
    models, datasets = _removable(place, keep)
    found = [_removal("model", reference(folder), folder) for folder in models]
    found += [_removal("data set", reference(folder), folder) for folder in datasets]
    if caches:
        kept = [folder for folder in versions(place, place.datasets, DATASET_CARD) if folder not in datasets]
        cached = [folder / _FEATURES for folder in kept if (folder / _FEATURES).is_dir()]
        found += [_removal("features", reference(folder.parent), folder) for folder in cached]
        sources = [path for path in _folders(place.sources) if not path.name.startswith(".")]
        found += [_removal("source", path.name, path) for path in sources]
    return tuple(found)


def clean(place: Workspace, planned: Iterable[Removal], keep: int) -> tuple[Removal, ...]:
    """Remove what was planned, but for what is needed or used by now; returns the same with `removed` set.

    Args:
        place: The workspace.
        planned: As `plan_cleaning` gave it.
        keep: As it was given to `plan_cleaning`.
    """
    return tuple(removal.model_copy(update={"removed": _remove(place, removal, keep)}) for removal in planned)


def _remove(place: Workspace, removal: Removal, keep: int) -> bool:
    folder = Path(removal.folder)
    version = folder.parent if removal.kind == "features" else folder
    if not folder.is_dir():
        return True
    # A version of a model is not blessed while it is looked at.
    with held(version.parent.name, place) if removal.kind == "model" else nullcontext(), alone(version) as free:
        if not free or (removal.kind in _VERSIONS and folder not in chain(*_removable(place, keep))):
            logger.info("The %s %s is in use by now: it stays.", removal.kind, removal.name)
            return False
        if removal.kind in _VERSIONS and place.mirror:
            place.mirror.remove(place.mirror.name_of(folder / _VERSIONS[removal.kind]))  # first: it is no version then
        remove_folder(folder)
        if removal.kind in _VERSIONS and place.mirror:
            place.mirror.remove_gone(place.mirror.name_of(folder))
    return True


def _removable(place: Workspace, keep: int) -> tuple[list[Path], list[Path]]:
    """The versions of models, and those of data sets, that nothing depends on."""
    needed, models = _needed_models(place), versions(place, place.models, BUNDLE_CARD)
    old_models = [folder for folder in _older(models, keep) if reference(folder) not in needed]
    cards = (
        read_card(folder / BUNDLE_CARD, BundleCard, BUNDLE_SCHEMA) for folder in models if folder not in old_models
    )
    trained_on = {card.dataset for card in cards}
    datasets = versions(place, place.datasets, DATASET_CARD)
    return old_models, [folder for folder in _older(datasets, keep) if reference(folder) not in trained_on]


def _needed_models(place: Workspace) -> set[str]:
    """`name@version` of the models that something depends on."""
    tables = table_entries(place)
    for table in tables:
        if table.damaged:
            raise FormatError(table.damaged)
    needed = {model for table in tables for model in table.made_by}
    for path in place.root.glob(f"experiments/*/{EXPERIMENT_CARD}"):
        needed.add(read_card(path, ExperimentCard, EXPERIMENT_SCHEMA).bundle)
    for name in place.model_names():
        card = read_blessed(place, name)
        if card:
            line = [version for version in card.line()[:-1] if version != card.current]
            earlier = [version for version in line if is_whole_version(place, name, version)]
            needed |= {f"{name}@{version}" for version in (card.current, *earlier[-1:])}
    return needed


def _older(folders: list[Path], keep: int) -> list[Path]:
    """Those that are not among the `keep` newest of their name; `folders` has the newest of each name first."""
    seen: dict[str, int] = {}
    older = []
    for folder in folders:
        seen[folder.parent.name] = seen.get(folder.parent.name, 0) + 1
        if seen[folder.parent.name] > keep:
            older.append(folder)
    return older


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _removal(kind: Kind, name: str, folder: Path) -> Removal:
    return Removal(kind=kind, name=name, folder=str(folder), num_bytes=size_of(folder))
