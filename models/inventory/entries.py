"""What a workspace holds, read from the cards; a damaged card is an entry that says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from darkroom.data.dataset.dataset import SCHEMA_VERSION as DATASET_SCHEMA
from darkroom.data.dataset.dataset import DatasetCard
from darkroom.data.errors import FormatError
from darkroom.data.files.cards import read_card
from darkroom.data.stores.table_paths import SUMMARY_CARD
from darkroom.data.stores.workspace import BUNDLE_CARD, DATASET_CARD, Workspace
from darkroom.models.bundle.blessed import read_blessed
from darkroom.models.bundle.bundle import SCHEMA_VERSION as BUNDLE_SCHEMA
from darkroom.models.bundle.bundle import BundleCard
from darkroom.models.evaluation.reporting.report import EvaluatedOn, find_test_report
from darkroom.models.inbox.summary import read_inbox_summary
from darkroom.models.pages.navigation import REPORT_CARD
from darkroom.models.prediction_table.inbox_table import INBOX_CARD, NightTable, models_of, night_parts
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.schema import SCHEMA_VERSION as TABLE_SCHEMA
from darkroom.models.scoring.summary import ScoreSummary

Verdict = Literal["blessed", "refused", "undecided", "not evaluated"]


class Entry(BaseModel):
    """What all entries have.

    Attributes:
        name: Of a data set or model `name@version`, of a table its name.
        folder: Where it is on this machine.
        created: When its card was written, UTC, ISO 8601.
        num_bytes: On this machine's disk, caches and pages included.
        damaged: What is wrong with its card; None where nothing is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    folder: str
    created: str
    num_bytes: int
    damaged: str | None = None


class DatasetEntry(Entry):
    """A version of a data set.

    Attributes:
        source: What it was ingested from.
        num_images, num_classes: What it holds; 0 where its card is damaged.
        newest: Whether its name alone means this version.
        used_by: The models that were trained on it.
    """

    source: str = ""
    num_images: int = 0
    num_classes: int = 0
    newest: bool
    used_by: tuple[str, ...] = ()


class ModelEntry(Entry):
    """A version of a model.

    Attributes:
        dataset: What it was trained on.
        architecture: Of its network.
        evaluated: Its figures on test images; None where it has none.
        verdict: What its evaluation, or a person, decided.
        in_use: Whether it is the blessed version now, by which `NAME` is scored.
        used_by: The tables that it made.
    """

    dataset: str = ""
    architecture: str = ""
    evaluated: EvaluatedOn | None = None
    verdict: Verdict = "not evaluated"
    in_use: bool = False
    used_by: tuple[str, ...] = ()


class TableEntry(Entry):
    """A prediction table in the workspace.

    Attributes:
        scored: The folder or URL of its images.
        made_by: The models that made its rows, `name@version`; several where an inbox outlived a version.
        num_rows: Its rows.
        num_quarantined, num_abstained: Of them; None in the table of an inbox, which is counted night by night.
    """

    scored: str = ""
    made_by: tuple[str, ...] = ()
    num_rows: int = 0
    num_quarantined: int | None = None
    num_abstained: int | None = None


@dataclass(frozen=True)
class Judged:
    """How good a version of a model is.

    Attributes:
        evaluated, verdict, in_use: As of `ModelEntry`.
        damaged: What is wrong with its report; None where nothing is.
    """

    evaluated: EvaluatedOn | None = None
    verdict: Verdict = "not evaluated"
    in_use: bool = False
    damaged: str | None = None


def dataset_entries(place: Workspace) -> tuple[DatasetEntry, ...]:
    """All versions of all data sets, by name, the newest first.

    Args:
        place: The workspace.
    """
    users: dict[str, list[str]] = {}
    for folder in versions(place, place.models, BUNDLE_CARD):
        model = _bundle_card(folder)
        if isinstance(model, BundleCard):
            users.setdefault(model.dataset, []).append(reference(folder))
    found, names = [], set[str]()
    for folder in versions(place, place.datasets, DATASET_CARD):
        newest = folder.parent.name not in names
        names.add(folder.parent.name)
        name = reference(folder)
        shared = _shared(folder / DATASET_CARD, name, folder)
        try:
            card = read_card(folder / DATASET_CARD, DatasetCard, DATASET_SCHEMA)
        except FormatError as error:
            found.append(DatasetEntry(**shared, newest=newest, damaged=str(error)))
            continue
        found.append(
            DatasetEntry(
                **shared,
                source=card.source,
                num_images=card.num_ok,
                num_classes=len(card.labels),
                newest=newest,
                used_by=tuple(sorted(users.get(name, ()))),
            )
        )
    return tuple(found)


def model_entries(place: Workspace, name: str = "") -> tuple[ModelEntry, ...]:
    """All versions of models, by name, the newest first.

    Args:
        place: The workspace.
        name: Only of this model; empty for all.
    """
    made: dict[str, list[str]] = {}
    for table in table_entries(place):
        for model in table.made_by:
            made.setdefault(model, []).append(table.name)
    found = []
    for folder in versions(place, place.models, BUNDLE_CARD, name):
        version = reference(folder)
        shared = _shared(folder / BUNDLE_CARD, version, folder)
        card = _bundle_card(folder)
        if isinstance(card, FormatError):
            found.append(ModelEntry(**shared, damaged=str(card)))
            continue
        found.append(
            ModelEntry(
                **shared,
                dataset=card.dataset,
                architecture=card.settings.model,
                used_by=tuple(sorted(made.get(version, ()))),
                **vars(judged(place, folder)),
            )
        )
    return tuple(found)


def table_entries(place: Workspace) -> tuple[TableEntry, ...]:
    """All finished prediction tables of the workspace's own folder, by name.

    Args:
        place: The workspace.
    """
    return tuple(map(_table_entry, _tables(place)))


def judged(place: Workspace, folder: Path) -> Judged:
    """What is known of how good a version of a model is.

    Args:
        place: The workspace.
        folder: The version's.
    """
    blessed = _blessed(place, folder.parent.name)
    in_use = blessed[-1:] == (folder.name,)
    place.fetch_file(folder / "report" / REPORT_CARD)
    try:
        report = find_test_report(folder / "report")
    except FormatError as error:
        return Judged(in_use=in_use, damaged=str(error))
    if folder.name in blessed:
        verdict: Verdict = "blessed"
    elif report is None:
        verdict = "not evaluated"
    else:
        verdict = "undecided" if report.blessing is None or report.blessing.blessed else "refused"
    return Judged(EvaluatedOn.of(report) if report else None, verdict, in_use)


def versions(place: Workspace, parent: Path, card: str, name: str = "") -> list[Path]:
    """As `place.versions`, with the cards that only a store has fetched.

    Args:
        place: The workspace.
        parent, card, name: As for `place.versions`.
    """
    found = place.versions(parent, card, name)
    for folder in found:
        place.fetch_file(folder / card)
    return found


def reference(folder: Path) -> str:
    """`name@version` of a version's folder."""
    return f"{folder.parent.name}@{folder.name}"


def _tables(place: Workspace) -> list[Path]:
    """The folders of the tables, sorted; the cards that only a store has are fetched."""
    cards = (f".{SUMMARY_CARD}", f".{INBOX_CARD}")
    if place.mirror:
        for name in place.mirror.listed(place.mirror.name_of(place.scores)):
            if name.endswith(cards) and name.count("/") == 1:
                place.fetch_file(place.root / name)
    found = {path.with_name(path.name.removesuffix(card)) for card in cards for path in place.scores.glob(f"*{card}")}
    # A night that was killed before it wrote its card has rows all the same.
    found |= {path.parent.parent for path in place.scores.glob("*/night=*/part-*.parquet")}
    return sorted(path for path in found if not path.name.startswith("."))


def _table_entry(folder: Path) -> TableEntry:
    nights, table = night_parts(folder), NightTable(TableOutput(folder))
    card_path = table.summary if nights or table.summary.is_file() else table.paths.summary
    shared = _shared(card_path if card_path.is_file() else next(iter(nights.values())), folder.name, folder)
    try:
        if card_path == table.paths.summary:
            card = read_card(card_path, ScoreSummary, TABLE_SCHEMA)
            statuses = {status.name: status.num_rows for status in card.statuses}
            return TableEntry(
                **shared,
                scored=card.folder,
                made_by=(card.bundle,),
                num_rows=card.num_files,
                num_quarantined=statuses.get("quarantined", 0),
                num_abstained=card.num_abstained,
            )
        rows = models_of(folder)
        if not card_path.is_file():
            return TableEntry(**shared, made_by=tuple(sorted(rows)), num_rows=sum(rows.values()))
        last = read_inbox_summary(table)
        made_by = tuple(sorted(rows.keys() | set(last.models)))
        return TableEntry(**shared, scored=last.folder, made_by=made_by, num_rows=sum(rows.values()) or last.num_rows)
    except FormatError as error:
        return TableEntry(**shared, damaged=str(error))


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; links count for themselves."""
    return sum(os.lstat(path).st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if os.path.lexists(path):  # another process may have removed it meanwhile
                yield path


def _shared(card: Path, name: str, folder: Path) -> dict[str, Any]:
    written = datetime.fromtimestamp(card.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return {"name": name, "folder": str(folder), "created": written, "num_bytes": size_of(folder)}


def _bundle_card(folder: Path) -> BundleCard | FormatError:
    try:
        return read_card(folder / BUNDLE_CARD, BundleCard, BUNDLE_SCHEMA)
    except FormatError as error:
        return error


def _blessed(place: Workspace, name: str) -> tuple[str, ...]:
    """The versions that were blessed under a name, in their order; () where none was, or the card is damaged."""
    try:
        card = read_blessed(place, name)
    except FormatError:
        return ()
    return tuple(event.version for event in card.history) if card else ()
