"""Every path in the workspace, defined here and nowhere else.

<root>/
  sources/<key>/                       fetched, unpacked or made sources
  datasets/<name>/<version>/           manifest.parquet  dataset.json  shards/  features/
  models/<name>/<version>/             bundle.json  model.keras  model.onnx  report/
  models/<name>/blessed.json           which version scores
  scores/<run>/                        part-00000.parquet …, and nothing else: see `TablePaths`
  scores/<run>.summary.json            written last  (beside it: <run>.run.json)
  inspections/<name>/                  dataset.html  inspection.json
  inspections/.work/                   datasets/, as above: what an inspection that was stopped had read
  labelling/<name>/                    label.html  next.csv  next.json  predictions/
  experiments/<name>-<version>/        experiment.json  experiment.html  trials.parquet
  .pages/                              the lock of those who link pages (`darkroom.models.pages.navigation`)

A workspace in a store has a copy on this machine, where all work is done: see `mirror.py`. What is needed is fetched
when it is looked for; what was made is shared when it is whole, its card last. Hidden names, `sources` and `features`
stay on the machine.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from darkroom.data.errors import FormatError, InputError, SettingError
from darkroom.data.stores.mirror import Mirror
from darkroom.data.stores.model_choice import Choice, FoundModel, ModelChoice

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
DATASET_CARD = "dataset.json"
BUNDLE_CARD = "bundle.json"
INSPECTION_CARD = "inspection.json"
BLESSED_CARD = "blessed.json"
BLESSED: Final = "blessed"
NEWEST: Final = "newest"
EXPERIMENT_CARD = "experiment.json"
_MAX_CARD_BYTES = 2**28


def check_name(name: str) -> str:
    """The name, where it can be one plain folder.

    Raises:
        SettingError: where it cannot.
    """
    if not _NAME.fullmatch(name):
        raise SettingError(
            f"{name!r} cannot be a name: use letters, digits, '.', '_' and '-', starting with a letter or digit."
        )
    return name


def name_from(text: str) -> str:
    """A valid name made from a source such as `kaggle:owner/cats and dogs` or `/data/x.tar.gz`."""
    stem = re.sub(r"\.(zip|tar|tgz|tar\.gz)$", "", text.rstrip("/").split("/")[-1].split(":")[-1], flags=re.I)
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100]
    return cleaned or "dataset"


@dataclass(frozen=True)
class Workspace:
    """The folder that holds all results; created on first use.

    Attributes:
        root: The folder on this machine.
        mirror: The folder in a store that `root` is the copy of, or None.
    """

    root: Path
    mirror: Mirror | None = None

    @property
    def reference(self) -> str:
        """The path or URL that `--workspace` names."""
        return str(self.mirror.url) if self.mirror else str(self.root)

    @property
    def sources(self) -> Path:
        """Sources that were downloaded, unpacked or written: never shared."""
        return self.root / "sources"

    @property
    def datasets(self) -> Path:
        """All data sets."""
        return self.root / "datasets"

    @property
    def models(self) -> Path:
        """All models."""
        return self.root / "models"

    @property
    def scores(self) -> Path:
        """Prediction tables that were given no other folder."""
        return self.root / "scores"

    def inspection(self, name: str) -> Path:
        """The folder of the inspection of that name.

        Raises:
            SettingError: where the name cannot be a folder.
        """
        return self.root / "inspections" / check_name(name)

    def labelling(self, name: str) -> Path:
        """The folder of what to label next, under the name of a prediction table.

        Raises:
            SettingError: where the name cannot be a folder.
        """
        return self.root / "labelling" / check_name(name)

    @property
    def inspection_work(self) -> Workspace:
        """The workspace in which a source is read that is only inspected, not ingested."""
        return Workspace(self.root / "inspections" / ".work")

    def experiment(self, name: str, version: str) -> Path:
        """The folder of an experiment.

        Args:
            name: The experiment's.
            version: Its content hash.

        Raises:
            SettingError: where the name cannot be a folder.
        """
        return self.root / "experiments" / f"{check_name(name)}-{version}"

    def dataset(self, name: str, version: str) -> Path:
        """The folder of a version of a data set.

        Args:
            name: The data set's.
            version: Its content hash.

        Raises:
            SettingError: where the name cannot be a folder.
        """
        return self.datasets / check_name(name) / version

    def model(self, name: str, version: str) -> Path:
        """The folder of a version of a model.

        Args:
            name: The model's.
            version: Its content hash.

        Raises:
            SettingError: where the name cannot be a folder.
        """
        return self.models / check_name(name) / version

    def find_dataset(self, reference: str) -> Path:
        """The folder of a data set: a name (the newest version), `name@version`, or a path.

        Raises:
            InputError: where there is none; the message names those that there are.
        """
        found = self._find(self.datasets, reference, DATASET_CARD, "data set", "darkroom ingest SOURCE --name NAME")
        if os.path.isdir(reference) and not os.path.isfile(Path(reference) / DATASET_CARD):
            name = f"{found.parent.name}@{found.name}"
            logger.info("%s is taken for the data set %s; the images in the folder are not read.", reference, name)
        return found

    def dataset_versions(self, name: str) -> list[Path]:
        """The folders of all versions of a data set, here and in the store, the newest first."""
        return self.versions(self.datasets, DATASET_CARD, check_name(name))

    def versions(self, parent: Path, card: str, name: str = "") -> list[Path]:
        """The folders of all versions, here and in the store, by name, the newest first.

        Args:
            parent: `datasets` or `models`.
            card: The name of their card.
            name: Only of this name; empty for all.
        """
        found = self._cards(parent / name, "*", card) if name else self._cards(parent, "*/*", card)
        newest = sorted(found, key=lambda path: (found[path], path.parent.name), reverse=True)
        return [path.parent for path in sorted(newest, key=lambda path: path.parent.parent.name)]

    def read_file(self, path: Path) -> bytes:
        """A file's bytes, from here or else from the store, without keeping a copy.

        Raises:
            OSError: where it is in neither.
        """
        if self.mirror and not path.is_file():
            theirs = self.mirror.read(self.mirror.name_of(path), _MAX_CARD_BYTES)
            if theirs is not None:
                return theirs
        return path.read_bytes()

    def find_model(self, reference: str) -> Path:
        """The folder of a model; arguments and errors as those of `choose_model`."""
        return self.choose_model(reference).folder

    def choose_model(self, reference: str, bare: Literal["blessed", "newest"] = BLESSED) -> FoundModel:
        """The version of a model that a reference means, and why.

        Args:
            reference: A name, `name@newest`, `name@blessed`, `name@version`, or a path.
            bare: What a name alone means: `blessed` is the blessed version or, where none is, the newest.

        Raises:
            InputError: where there is no such model or version, or the blessed version was removed.
            FormatError: where `blessed.json` is damaged.
        """
        folder, by = self._find_version(reference, bare)
        if by not in (BLESSED, NEWEST):
            return FoundModel(folder, ModelChoice(by=by))
        name = folder.parent.name
        blessed = folder.name if by == BLESSED else self._blessed_version(name)
        newest = folder.name if by == NEWEST else self._newest_model(name).name
        choice = ModelChoice(by=by, blessed=blessed, newest=newest)
        logger.info("Model %s@%s: %s.", name, folder.name, choice.reason)
        return FoundModel(folder, choice)

    def _find_version(self, reference: str, bare: Literal["blessed", "newest"]) -> tuple[Path, Choice]:
        if os.path.isfile(Path(reference) / BUNDLE_CARD):
            return self._newest_model(reference), "path"
        name, _, version = reference.removeprefix("./").rstrip("/").partition("@")
        if _NAME.fullmatch(name) and version == BLESSED:
            return self._find_blessed(name), BLESSED
        if not version and bare == BLESSED and _NAME.fullmatch(name) and self._blessed_version(name):
            return self._find_blessed(name), BLESSED
        if version and version != NEWEST:
            return self._newest_model(reference), "version"
        return self._newest_model(name if version else reference), NEWEST

    def _newest_model(self, reference: str) -> Path:
        return self._find(self.models, reference, BUNDLE_CARD, "model", "darkroom train DATASET")

    def model_names(self) -> list[str]:
        """The names of all models, sorted."""
        return sorted({path.parent.parent.name for path in self._cards(self.models, "*/*", BUNDLE_CARD)})

    def blessed_card(self, name: str) -> Path:
        """The file that says which version of a model is the blessed one."""
        return self.models / check_name(name) / BLESSED_CARD

    def _find_blessed(self, name: str) -> Path:
        version = self._blessed_version(name)
        if version is None:
            newest = self._newest_model(name)
            raise InputError(
                f"No version of {name} is blessed yet. Evaluate the newest with: darkroom evaluate {name}, or bless "
                f"it by hand with: darkroom promote {name}@{newest.name}"
            )
        if not (self.fetch(self.model(name, version), BUNDLE_CARD) / BUNDLE_CARD).is_file():
            raise InputError(
                f"The blessed version {version} of {name} is no longer in {self.models}. Go back with: darkroom "
                f"rollback {name}, or choose another with: darkroom promote {name}@VERSION"
            )
        return self.model(name, version)

    def _blessed_version(self, name: str) -> str | None:
        """The version that `blessed.json` names; None where nothing is blessed under the name."""
        path = self.blessed_card(name)
        self.fetch_file(path)
        try:
            version = json.loads(path.read_text(encoding="utf-8"))["current"]
            if not _NAME.fullmatch(version):
                raise ValueError(version)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise FormatError(
                f"{path} is damaged: which version of {name} is blessed cannot be read. Restore it, or remove it and "
                f"bless a version with: darkroom promote {name}@VERSION"
            ) from None
        return str(version)

    def fetch(self, folder: Path, card: str) -> Path:
        """Download a version that another machine made, its card last, or what was added to it since; returns `folder`.

        Nothing happens where the workspace is in no store, or the store has no such version.

        Args:
            folder: The version's folder here.
            card: The name of its card.

        Raises:
            WorkError: where a file differs from what the card in the store lists.
        """
        if self.mirror is None or not folder.is_relative_to(self.root):
            return folder
        theirs = self.mirror.read(self.mirror.name_of(folder / card), _MAX_CARD_BYTES)
        if theirs is not None:
            listed = _listed_files(_parsed(theirs))
            hashes = {self.mirror.name_of(folder / file): sha256 for file, sha256 in listed}
            self.mirror.pull(self.mirror.name_of(folder), _is_shared, self.mirror.name_of(folder / card), hashes)
        return folder

    def share(self, folder: Path, card: str) -> None:
        """Upload what the store lacks of a version, its card last. Of two published at once, the first is kept.

        Args:
            folder: The version's folder here.
            card: The name of its card.
        """
        if self.mirror is None or not folder.is_relative_to(self.root):
            return
        name, last = self.mirror.name_of(folder), self.mirror.name_of(folder / card)
        theirs = self.mirror.read(last, _MAX_CARD_BYTES)
        if theirs is not None and theirs != (folder / card).read_bytes():
            logger.warning("%s was also published by another machine: that version is kept.", self.mirror.url / name)
            shutil.rmtree(folder)
            self.fetch(folder, card)
        else:
            self.mirror.push_folder(name, last, _is_shared)

    def replace(self, folder: Path, card: str) -> None:
        """Make a folder in the store equal to the one here: its card is removed first, and uploaded last.

        Args:
            folder: The folder here.
            card: The name of its card.
        """
        if self.mirror is None or not folder.is_relative_to(self.root):
            return
        name, last = self.mirror.name_of(folder), self.mirror.name_of(folder / card)
        theirs = self.mirror.read(last, _MAX_CARD_BYTES)
        if theirs is not None and not ((folder / card).is_file() and theirs == (folder / card).read_bytes()):
            self.mirror.remove(last)
        self.mirror.remove_gone(name, _is_shared)
        self.mirror.push_folder(name, last, _is_shared)

    def fetch_file(self, path: Path) -> None:
        """Download a single file as the store has it; nothing happens where it has none."""
        if self.mirror:
            self.mirror.pull_one(self.mirror.name_of(path))

    def share_file(self, path: Path) -> None:
        """Upload a single file."""
        if self.mirror:
            self.mirror.push([self.mirror.name_of(path)])

    def _find(self, parent: Path, reference: str, card: str, kind: str, remedy: str) -> Path:
        """A reference is a path where its folder holds a card; otherwise a name, with or without a version."""
        as_path = Path(reference)
        if os.path.isfile(as_path / card):  # unlike Path's, also False for a name that no file system can hold
            return as_path.resolve()
        name, _, version = reference.removeprefix("./").rstrip("/").partition("@")  # as a shell completes a folder
        if _NAME.fullmatch(name) and (not version or _NAME.fullmatch(version)):
            found = self._cards(parent / name, "*", card)
            if version and found:
                versions = sorted({path.parent.name for path in found})
                found = {path: when for path, when in found.items() if path.parent.name == version}
                if not found:
                    raise InputError(f"The {kind} {name} has no version {version!r}. There are: {', '.join(versions)}.")
            if found:
                return self.fetch(max(found, key=lambda path: (found[path], path.parent.name)).parent, card)
        known = {path.parent.parent.name for path in self._cards(parent, "*/*", card)}
        have = f" There are: {', '.join(sorted(known))}." if known else ""
        where = self.mirror.url / self.mirror.name_of(parent) if self.mirror else parent
        raise InputError(f"There is no {kind} {reference!r} in {where}.{have} Create one with: {remedy}")

    def _cards(self, folder: Path, pattern: str, card: str) -> dict[Path, int]:
        """The cards of all versions that match, here and in the store, with their times in nanoseconds."""
        found = {path: path.stat().st_mtime_ns for path in folder.glob(f"{pattern}/{card}")}
        if self.mirror:
            depth = len((folder / pattern).relative_to(self.root).parts)
            there = self.mirror.listed(self.mirror.name_of(folder), _is_shared)
            for name, fact in there.items():
                if name.endswith(f"/{card}") and name.count("/") == depth:
                    found[self.root / name] = fact.mtime_ns
        return {path: when for path, when in found.items() if not path.parent.name.startswith(".")}


def _is_shared(name: str) -> bool:
    """Whether a file of the workspace goes to the store."""
    parts = name.split("/")
    own = parts[0] == "sources" or parts[3:4] == ["features"]  # datasets/<name>/<version>/features
    return not own and not any(part.startswith(".") for part in parts)


def _parsed(card: bytes) -> Any:
    try:
        return json.loads(card)
    except ValueError:
        return None  # said when it is opened


def _listed_files(card: Any) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file that a card lists, wherever in it."""
    if isinstance(card, dict):
        here = [(card["file"], card["sha256"])] if isinstance(card.get("file"), str) and "sha256" in card else []
        return here + [pair for value in card.values() for pair in _listed_files(value)]
    return [pair for value in card for pair in _listed_files(value)] if isinstance(card, list) else []
