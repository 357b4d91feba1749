"""`list`, `history` and `clean`: what a workspace holds, and what may go. Only `clean` is a flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from darkroom.data.figures import count, fraction, size
from darkroom.flows.form_types import AtLeastOne
from darkroom.flows.results import SelfDescribed
from darkroom.flows.settings import open_workspace
from darkroom.models.inventory import cleaning, entries
from darkroom.models.inventory import history as histories
from darkroom.models.inventory.cleaning import Removal
from darkroom.models.inventory.entries import DatasetEntry, ModelEntry, TableEntry
from darkroom.models.inventory.history import Period
from darkroom.models.pages.description import Description, Row, Table
from darkroom.tasks.artifacts import show_result
from darkroom.tasks.decorators import flow

Listed = Literal["all", "datasets", "models", "scores"]

KEEP = 3


class ListResult(SelfDescribed):
    """What a workspace holds; () for what was not asked for."""

    workspace: str
    datasets: tuple[DatasetEntry, ...]
    models: tuple[ModelEntry, ...]
    scores: tuple[TableEntry, ...]

    def description(self) -> Description:
        """What there is, in a table of each kind."""
        every = (*self.datasets, *self.models, *self.scores)
        row = Row(label="workspace", text=f"{self.workspace}: {size(sum(entry.num_bytes for entry in every))}")
        remarks = () if every else ("Nothing is there yet. Begin with: darkroom run digits",)
        damaged = tuple(f"{entry.name}: {entry.damaged}" for entry in every if entry.damaged)
        described = Description(title=f"Workspace {self.workspace}", rows=(row,), remarks=(*remarks, *damaged))
        return described.with_tables(_datasets(self.datasets), _models(self.models), _tables(self.scores))


class HistoryResult(SelfDescribed):
    """The versions of a model, and which one was in use when."""

    name: str
    versions: tuple[ModelEntry, ...]
    periods: tuple[Period, ...]

    def description(self) -> Description:
        """The versions, and the times in which each was in use."""
        used = f"{self.name}@{self.periods[-1].version}" if self.periods else "no version is blessed"
        rows = (Row(label="model", text=self.name), Row(label="in use", text=used))
        periods = Table(
            title="In use",
            columns=("version", "from", "until", "by", "why"),
            cells=tuple(
                (each.version, each.start, each.end or "now", each.event.action, each.event.why)
                for each in self.periods
            ),
        )
        return Description(title=f"History of {self.name}", rows=rows).with_tables(_models(self.versions), periods)


class CleanResult(SelfDescribed):
    """What went from a workspace, or may go; `num_bytes` is what that frees."""

    workspace: str
    dry_run: bool
    num_bytes: int
    removals: tuple[Removal, ...]

    def description(self) -> Description:
        """What went, or may go."""
        said = "would be freed" if self.dry_run else "freed"
        gone = [removal for removal in self.removals if removal.removed or self.dry_run]
        row = Row(label="space", text=f"{size(self.num_bytes)} {said}: {count(len(gone), 'folder')}")
        cells = tuple((each.kind, each.name, size(each.num_bytes), self._state(each)) for each in self.removals)
        remarks = () if self.removals else ("Nothing to remove: everything is recent or still needed.",)
        described = Description(title=f"Cleaning of {self.workspace}", rows=(row,), remarks=remarks)
        columns = ("kind", "name", "size", "state")
        return described.with_tables(Table(title="Removed", columns=columns, cells=cells))

    def _state(self, removal: Removal) -> str:
        return "may go" if self.dry_run else "removed" if removal.removed else "kept: in use by a run"


def list_entries(what: Listed = "all", workspace: str | None = None) -> ListResult:
    """What a workspace holds.

    Args:
        what: Of which kind.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    return ListResult(
        workspace=place.reference,
        datasets=entries.dataset_entries(place) if what in ("all", "datasets") else (),
        models=entries.model_entries(place) if what in ("all", "models") else (),
        scores=entries.table_entries(place) if what in ("all", "scores") else (),
    )


def history(name: str, workspace: str | None = None) -> HistoryResult:
    """The versions of a model, and which one was in use when.

    Args:
        name: The model's.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    versions, periods = histories.history(open_workspace(workspace), name)
    return HistoryResult(name=name, versions=versions, periods=periods)


@flow(name="clean", flow_run_name="keep {keep} {date}")
def clean(
    keep: AtLeastOne = KEEP, caches: bool = False, dry_run: bool = False, workspace: str | None = None
) -> CleanResult:
    """Remove versions of data sets and models that nothing depends on.

    A blessed version stays, with the one before it, and so does a model that made a table or is the best of an
    experiment, the data set of a model that stays, and what a run is using.

    Args:
        keep: Newest versions of each name that stay whatever depends on them.
        caches: Also remove what is made again when it is needed: cached features, and unpacked or downloaded sources.
        dry_run: Remove nothing; say what would go.
        workspace: Folder of all results; None takes DARKROOM_WORKSPACE or ./workspace.
    """
    place = open_workspace(workspace)
    planned = cleaning.plan_cleaning(place, keep, caches)
    removals = planned if dry_run else cleaning.clean(place, planned, keep)
    freed = sum(each.num_bytes for each in removals if each.removed or dry_run)
    result = CleanResult(workspace=place.reference, dry_run=dry_run, num_bytes=freed, removals=removals)
    show_result(result.description(), "clean")
    return result


def _datasets(found: Sequence[DatasetEntry]) -> Table:
    return Table(
        title="Data sets",
        columns=("data set", "images", "classes", "size", "created", "used by", "source"),
        cells=tuple(
            (
                *(each.name, f"{each.num_images:,}", f"{each.num_classes:,}", size(each.num_bytes)),
                *(_when(each.created), _named(each.used_by, "model"), each.source),
            )
            for each in found
        ),
    )


def _models(found: Sequence[ModelEntry]) -> Table:
    return Table(
        title="Models",
        columns=(
            "model",
            "accuracy",
            "macro F1",
            "verdict",
            "architecture",
            "trained on",
            "size",
            "created",
            "used by",
        ),
        cells=tuple(
            (
                each.name,
                *(
                    (fraction(each.evaluated.accuracy), fraction(each.evaluated.macro_f1))
                    if each.evaluated
                    else ("", "")
                ),
                "blessed, in use" if each.in_use else each.verdict,
                *(each.architecture, each.dataset, size(each.num_bytes), _when(each.created)),
                _named(each.used_by, "table"),
            )
            for each in found
        ),
    )


def _tables(found: Sequence[TableEntry]) -> Table:
    return Table(
        title="Prediction tables",
        columns=("table", "rows", "quarantined", "abstained", "model", "size", "created", "images"),
        cells=tuple(
            (
                *(each.name, f"{each.num_rows:,}", _number(each.num_quarantined), _number(each.num_abstained)),
                *(_named(each.made_by, "model"), size(each.num_bytes), _when(each.created), each.scored),
            )
            for each in found
        ),
    )


def _number(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _when(created: str) -> str:
    return created[:16].replace("T", " ")


def _named(users: Sequence[str], kind: str) -> str:
    """One by its name, more of them by their number."""
    return users[0] if len(users) == 1 else count(len(users), kind) if users else ""
