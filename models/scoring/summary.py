"""`<table>.summary.json`: what a finished prediction table holds, and how it came to be. It is written last."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from darkroom.data.dataset.manifest import OK
from darkroom.data.errors import CountError, FormatError
from darkroom.data.figures import count, duration
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import FileFact, check_file, read_card
from darkroom.data.files.provenance import run_record
from darkroom.data.images.decoder_fingerprint import Decoder
from darkroom.data.settings import without_defaults
from darkroom.data.stores.model_choice import ModelChoice
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.onnx.runtime import Engine
from darkroom.models.prediction_table import earlier_layout
from darkroom.models.prediction_table.part_file import LATER
from darkroom.models.prediction_table.schema import SCHEMA_VERSION, TOP_K, UNFAMILIAR
from darkroom.models.scoring.parts import PartDone, images_per_second
from darkroom.models.scoring.plan import read_plan, remove_plan

logger = logging.getLogger(__name__)

_OF_A_RUN = {"chosen", "rows_reused", "started_at", "seconds", "images_per_second", "run_id"}


class NamedCount(BaseModel):
    """A number of rows.

    Attributes:
        name: The status, label or reason that they share.
        num_rows: How many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    num_rows: int


class ScoreSummary(BaseModel):
    """What a table holds, and the run that made it.

    Attributes:
        folder: The scored folder, a path or a URL; of named files, the one that they have in common.
        listed: Whether files of it were named, in place of all.
        bundle: `name@version`.
        chosen: Why it is that version of the model; None in a summary of an earlier Darkroom.
        precision: Of the network that scored: `fp32` or `int8`.
        engine: What ran it, see `darkroom.models.onnx.runtime`.
        images_per_second: Of the rows that the run computed; None where all were there before.
        embedding_size: Numbers in the column `embedding`; None where there is none.
        top_k: Classes that each row keeps, if there are as many.
        labels: Rows by label; a row counts for each of its labels.
        decoder: Of the images, in every row; None in a summary of an earlier Darkroom.
        num_files: Files, and rows.
        statuses, labels, reasons: Rows by each.
        num_abstained: Rows with a confidence below the bundle's threshold.
        num_unfamiliar: Rows of unfamiliar images; None where the table does not tell.
        parts: The table's files.
        rows_reused: Rows that an earlier run had made.
        started_at: UTC, ISO 8601.
        seconds: How long the run took.
        images_per_second: All rows divided by `seconds`.
        run_id: Prefect's ID of the flow run; None outside Prefect.
        remarks: Sentences for the person, such as that the images do not fit the range that the model reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    folder: str
    listed: bool = False
    bundle: str
    chosen: ModelChoice | None = None
    precision: Literal["fp32", "int8", "service"] = "fp32"
    engine: Engine = "fp32"
    embedding_size: int | None = None
    top_k: int = TOP_K
    decoder: Decoder | None = None
    num_files: int
    statuses: tuple[NamedCount, ...]
    labels: tuple[NamedCount, ...]
    reasons: tuple[NamedCount, ...]
    num_abstained: int
    num_unfamiliar: int | None = None
    parts: tuple[FileFact, ...]
    rows_reused: int
    started_at: str
    seconds: float
    images_per_second: float | None
    run_id: str | None
    remarks: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _as_it_always_was(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(self, dump(self), LATER)


def summarize(out: Path, done: Sequence[PartDone], started_at: str, seconds: float, run_id: str | None) -> ScoreSummary:
    """Count the rows of all parts, remove parts of a longer earlier table, and write run record and summary.

    Where the table was complete before and nothing about it changed, nothing is written.

    Args:
        out: The table's folder.
        done: The parts as the run left them; () where it did none.
        started_at: UTC, ISO 8601.
        seconds: How long the run took.
        run_id: Prefect's ID of the flow run; None outside Prefect.

    Raises:
        CountError: where there are not as many rows as files.
    """
    table = TablePaths(out)
    plan = read_plan(table)
    parts = [table.part(index) for index in range(plan.num_parts)]
    for longer in set(table.parts()) - set(parts):
        longer.unlink()
    counts: dict[str, Counter[str]] = {column: Counter() for column in ("status", "label", "reason")}
    num_abstained = num_unfamiliar = 0
    for part in parts:
        label = "labels" if "labels" in pq.read_schema(part).names else "label"
        flags = ["abstained", *([UNFAMILIAR] if plan.familiarity else [])]
        rows = pq.read_table(part, columns=["status", label, "reason", *flags])
        for column in counts:
            for value in rows[label if column == "label" else column].to_pylist():
                if value is not None:
                    counts[column].update(value if isinstance(value, list) else [value])
        found = [pc.sum(rows[flag]).as_py() or 0 for flag in flags]
        num_abstained, num_unfamiliar = num_abstained + found[0], num_unfamiliar + sum(found[1:])
    total = sum(counts["status"].values())
    if total != plan.num_files:
        raise CountError(f"{plan.num_files} files of {plan.folder} were planned and {total} rows written.")
    summary = ScoreSummary(
        folder=plan.folder,
        listed=plan.listed,
        bundle=plan.bundle,
        chosen=plan.chosen,
        precision=plan.precision,
        engine=plan.engine,
        embedding_size=plan.embedding_size,
        top_k=plan.top_k,
        decoder=plan.decoder,
        num_files=plan.num_files,
        statuses=_named(counts["status"]),
        labels=_named(counts["label"]),
        reasons=_named(counts["reason"]),
        num_abstained=num_abstained,
        num_unfamiliar=num_unfamiliar if plan.familiarity else None,
        parts=tuple(FileFact.of(out, part.name) for part in parts),
        rows_reused=sum(part.num_reused for part in done),
        started_at=started_at,
        seconds=round(seconds, 3),
        images_per_second=images_per_second(done),
        run_id=run_id,
        remarks=plan.remarks,
    )
    if not _is_written(table, summary):
        record = run_record("score", run_id, plan.model_dump(mode="json"))
        write_json(table.run_record, record.model_dump(mode="json"), table.work)
        write_json(table.summary, summary.model_dump(mode="json"), table.work)
    earlier_layout.remove(table)
    remove_plan(table)
    quarantined = plan.num_files - counts["status"][OK]
    logger.info(
        "%s: %s scored in %s: %s reused from an earlier run, %s quarantined.",
        plan.folder, count(total, "file"), duration(seconds), f"{summary.rows_reused:,}", f"{quarantined:,}",
    )  # fmt: skip
    return summary


def read_summary(out: Path) -> ScoreSummary:
    """The summary of a finished table.

    Raises:
        FormatError: where it is missing, or a part differs from what it lists.
    """
    table = TablePaths(out)
    earlier = earlier_layout.is_earlier(table) and not table.summary.is_file()
    path = earlier_layout.summary(table) if earlier else table.summary
    summary = read_card(path, ScoreSummary, SCHEMA_VERSION)
    for part in summary.parts:
        check_file(out, part)
    return summary


def _is_written(table: TablePaths, summary: ScoreSummary) -> bool:
    """Whether the summary beside the table is the same, but for the run."""
    try:
        found = read_card(table.summary, ScoreSummary, SCHEMA_VERSION)
    except FormatError:
        return False
    return table.run_record.is_file() and found.model_dump(exclude=_OF_A_RUN) == summary.model_dump(exclude=_OF_A_RUN)


def _named(counter: Counter[str]) -> tuple[NamedCount, ...]:
    return tuple(NamedCount(name=name, num_rows=counter[name]) for name in sorted(counter))
