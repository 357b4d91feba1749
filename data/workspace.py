"""Every path that the product makes, in one place.

<root>/
  sources/<key>/                       fetched, unpacked or made sources
  datasets/<name>/<version>/           manifest.parquet  dataset.json  shards/  features/
  models/<name>/<version>/             bundle.json  model.keras  model.onnx  report/
  models/<name>/blessed.json           which version scores
  scores/<run>/                        part-00000.parquet …  summary.json
  inspections/<name>/                  dataset.html  inspection.json
  inspections/.work/                   datasets/, as above: what an inspection that was stopped had read
  experiments/<name>-<version>/        experiment.json  experiment.html  trials.parquet
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from data.errors import FormatError, InputError, SettingError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
DATASET_CARD = "dataset.json"
BUNDLE_CARD = "bundle.json"
SUMMARY_CARD = "summary.json"
INSPECTION_CARD = "inspection.json"
BLESSED_CARD = "blessed.json"
BLESSED = "blessed"
EXPERIMENT_CARD = "experiment.json"


def check_name(name: str) -> str:
    """Refuse a name that would not be one plain folder."""
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
    """The folder that holds all results; made on first use."""

    root: Path

    @property
    def sources(self) -> Path:
        return self.root / "sources"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def scores(self) -> Path:
        return self.root / "scores"

    def inspection(self, name: str) -> Path:
        return self.root / "inspections" / check_name(name)

    @property
    def inspection_work(self) -> Workspace:
        """Where a source is read that is not to be ingested."""
        return Workspace(self.root / "inspections" / ".work")

    def experiment(self, name: str, version: str) -> Path:
        return self.root / "experiments" / f"{check_name(name)}-{version}"

    def dataset(self, name: str, version: str) -> Path:
        return self.datasets / check_name(name) / version

    def model(self, name: str, version: str) -> Path:
        return self.models / check_name(name) / version

    def find_dataset(self, reference: str) -> Path:
        """The folder of a data set: a name (newest version), `name@version`, or a path."""
        return _find(self.datasets, reference, DATASET_CARD, "data set", "darkroom ingest SOURCE --name NAME")

    def find_model(self, reference: str) -> Path:
        """The folder of a bundle: a name (newest version), `name@version`, `name@blessed`, or a path."""
        name, _, version = reference.partition("@")
        if version == BLESSED and _NAME.fullmatch(name):
            return self._find_blessed(name)
        return _find(self.models, reference, BUNDLE_CARD, "model", "darkroom train DATASET")

    def blessed_card(self, name: str) -> Path:
        """The file that says which version of a model is the blessed one."""
        return self.models / check_name(name) / BLESSED_CARD

    def _find_blessed(self, name: str) -> Path:
        path = self.blessed_card(name)
        try:
            version = json.loads(path.read_text(encoding="utf-8"))["current"]
            if not _NAME.fullmatch(version):
                raise ValueError(version)
        except FileNotFoundError:
            newest = _find(self.models, name, BUNDLE_CARD, "model", "darkroom train DATASET")
            raise InputError(
                f"No version of {name} is blessed yet. Judge the newest with: darkroom evaluate {name}, or bless it by "
                f"hand with: darkroom promote {name}@{newest.name}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError):
            raise FormatError(
                f"{path} is damaged: which version of {name} is blessed cannot be read. Restore it, or remove it and "
                f"bless a version with: darkroom promote {name}@VERSION"
            ) from None
        if not (self.model(name, version) / BUNDLE_CARD).is_file():
            raise InputError(
                f"The blessed version {version} of {name} is no longer in {self.models}. Go back with: darkroom "
                f"rollback {name}, or choose another with: darkroom promote {name}@VERSION"
            )
        return self.model(name, version)


def _find(parent: Path, reference: str, card: str, kind: str, remedy: str) -> Path:
    """A reference is a path where its folder holds a card; otherwise a name, with or without a version."""
    as_path = Path(reference)
    if os.path.isfile(as_path / card):  # unlike Path's, also False for a name that no file system can hold
        return as_path.resolve()
    name, _, version = reference.partition("@")
    if _NAME.fullmatch(name) and (not version or _NAME.fullmatch(version)):
        folder = parent / name
        found = [p for p in folder.glob(f"*/{card}") if not p.parent.name.startswith(".")]
        if version:
            found = [p for p in found if p.parent.name == version]
        if found:
            return max(found, key=lambda p: (p.stat().st_mtime_ns, p.parent.name)).parent
    known = sorted(p.parent.parent.name for p in parent.glob(f"*/*/{card}")) if parent.is_dir() else []
    have = f" There are: {', '.join(sorted(set(known)))}." if known else ""
    raise InputError(f"There is no {kind} {reference!r} in {parent}.{have} Make one with: {remedy}")
