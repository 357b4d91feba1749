"""The table of an inbox on disk: a folder of parts for each night, which any Parquet reader opens as one table.

<folder>/night=2026-11-28/part-00000.parquet …
<folder>.inbox.json                  the last run: what it found, and what it wrote
<folder>.run.json                    which run that was
<folder>.known.sqlite                what has been scored (`darkroom.models.inbox.known`); derived from the parts again
.<folder>.scoring/                   the lock; while a run is in progress, its plan and unfinished files

A part never changes once it is there. Where the table goes to a store, its parts are copied there one by one; what is
known stays on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.data.errors import FormatError, InputError
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.prediction_table.schema import EMBEDDING, LABELS, table_schema

_PART = re.compile(r"night=\d{4}-\d\d-\d\d/part-(\d+)\.parquet")
# A table holds one kind of these: a reader could make nothing of a mixture.
_OF_THE_MODEL = ("label", "labels", "probabilities", EMBEDDING)
INBOX_CARD = "inbox.json"
MODEL = "model"
# What a row of an inbox has besides the columns of any prediction table.
_ADDED = (pa.field(MODEL, pa.string()), pa.field("scored_at", pa.timestamp("us", "UTC")))


@dataclass(frozen=True)
class NightTable:
    """The table of an inbox.

    Attributes:
        out: Where it is.
    """

    out: TableOutput

    @property
    def paths(self) -> TablePaths:
        """The files beside the folder that every table has."""
        return self.out.paths

    @property
    def known(self) -> Path:
        """The database of what has been scored."""
        return self._beside("known.sqlite")

    @property
    def summary(self) -> Path:
        """What the last run found and wrote."""
        return self._beside(INBOX_CARD)

    @property
    def night_plan(self) -> Path:
        """What the run in progress is to do."""
        return self.paths.work / "night.json"

    def staged(self, index: int) -> Path:
        """The rows of a part of the run in progress before they are published."""
        return self.paths.work / f"staged-{index:05d}.parquet"

    def parts(self) -> dict[str, Path]:
        """The parts by name, such as `night=2026-11-28/part-00000.parquet`, in the order of the nights."""
        return night_parts(self.out.folder)

    def next_part(self, night: str) -> str:
        """The name of a part that is not there yet.

        Args:
            night: Its date, ISO 8601.
        """
        taken = [int(match[1]) for name in self.parts() if (match := _PART.match(name)) and night in name]
        return f"night={night}/part-{max(taken, default=-1) + 1:05d}.parquet"

    def check_kind(self) -> None:
        """Refuse a folder that holds another table.

        Raises:
            InputError: where it holds the table of a folder, or other Parquet files.
        """
        if self.paths.parts():
            raise InputError(
                f"{self.out.reference} holds the table of a folder that was scored without --new. Give another folder "
                "with --out."
            )

    def check_columns(self, schema: pa.Schema) -> None:
        """Refuse rows that do not fit those that are there.

        Args:
            schema: Of the new rows.

        Raises:
            InputError: where the labels or embeddings are of another kind.
        """
        there = self._schema()
        if there is None:
            return
        for name in _OF_THE_MODEL:
            has, gets = _type_of(there, name), _type_of(schema, name)
            if has != gets:
                raise InputError(
                    f"The table in {self.out.reference} has {_column(name, has)}, and this run would write "
                    f"{_column(name, gets)}. Score as before, or give another folder with --out."
                )
        labels = LABELS.encode()
        if (there.metadata or {}).get(labels) != (schema.metadata or {}).get(labels):
            raise InputError(
                f"The table in {self.out.reference} was made by a model of other labels. Give another folder with "
                "--out."
            )

    def fitted(self, rows: pa.Table) -> pa.Table:
        """Rows with the columns of the table: what it lacks is left out, what the rows lack is null.

        Args:
            rows: Of `night_schema`, for a table that `check_columns` accepted.
        """
        schema = self._schema()
        if schema is None:
            return rows
        columns = [
            rows[field.name].cast(field.type) if field.name in rows.column_names else pa.nulls(len(rows), field.type)
            for field in schema
        ]
        metadata = {LABELS: schema.metadata[LABELS.encode()]} if LABELS.encode() in (schema.metadata or {}) else None
        return pa.table(columns, schema=pa.schema(list(schema), metadata))

    def fetch(self) -> None:
        """Download the parts that the store has and this machine lacks."""
        mirror = self.out.mirror
        if mirror:
            inside = mirror.name_of(self.out.folder)
            mirror.pull(inside, _of_nights(inside))
            mirror.pull_one(mirror.name_of(self.paths.part(0)))  # of a table of another kind

    def share(self) -> None:
        """Upload the parts that the store lacks."""
        if self.out.mirror:
            self.out.mirror.push(self.out.mirror.name_of(path) for path in self.parts().values())

    def share_summary(self) -> None:
        """Upload what the run says of itself."""
        if self.out.mirror:
            self.out.mirror.push([self.out.mirror.name_of(path) for path in (self.paths.run_record, self.summary)])

    def _beside(self, name: str) -> Path:
        return self.out.folder.with_name(f"{self.out.folder.name}.{name}")

    def _schema(self) -> pa.Schema | None:
        first = next(iter(self.parts().values()), None)
        return pq.read_schema(first) if first else None


def night_parts(folder: Path) -> dict[str, Path]:
    """The parts of an inbox's table by name, in the order of the nights; none where it is another table.

    Args:
        folder: The table's.
    """
    found = {path.relative_to(folder).as_posix(): path for path in folder.glob("night=*/part-*.parquet")}
    return {name: found[name] for name in sorted(found) if _PART.fullmatch(name)}


def models_of(folder: Path) -> dict[str, int]:
    """Rows of an inbox's table by the model that made them, `name@version`; only the parts' footers are read.

    Args:
        folder: The table's.

    Raises:
        FormatError: where a part is damaged.
    """
    rows: dict[str, int] = {}
    for path in night_parts(folder).values():
        try:
            footer = pq.read_metadata(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise FormatError(
                f"{path} is damaged: {error}. Restore it, or remove it; its images are new then."
            ) from error
        for group in map(footer.row_group, range(footer.num_row_groups)):
            columns = map(group.column, range(group.num_columns))
            (made_by,) = (
                each.statistics.max for each in columns if each.path_in_schema == MODEL
            )  # one for a whole part
            rows[made_by] = rows.get(made_by, 0) + group.num_rows
    return rows


def night_schema(labels: tuple[str, ...], embedding_size: int | None, familiarity: bool = False) -> pa.Schema:
    """The columns of an inbox's table: those of any prediction table, the model of the row, and when it was scored.

    Args:
        labels: Of a model for several labels an image; () for one.
        embedding_size: Numbers in the column `embedding`; None where there is none.
        familiarity: With the columns `unfamiliarity` and `unfamiliar`.
    """
    schema = table_schema(labels, embedding_size, familiarity)
    return pa.schema([*schema, *_ADDED], schema.metadata)


def with_origin(rows: pa.Table, model: str, scored_at: datetime) -> pa.Table:
    """Rows of a prediction table with the columns `model` and `scored_at`.

    Args:
        rows: The rows.
        model: `name@version`.
        scored_at: When the run began.
    """
    values: tuple[Any, ...] = (model, scored_at)
    for field, value in zip(_ADDED, values, strict=True):
        rows = rows.append_column(field, pa.array([value] * len(rows), field.type))
    return rows


def _of_nights(inside: str) -> Callable[[str], bool]:
    return lambda name: _PART.fullmatch(name.removeprefix(f"{inside}/")) is not None


def _type_of(schema: pa.Schema, name: str) -> pa.DataType | None:
    return schema.field(name).type if name in schema.names else None


def _column(name: str, kind: pa.DataType | None) -> str:
    return f"a column {name} of {kind}" if kind is not None else f"no column {name}"
