"""`summary.json`: what a finished prediction table holds, and how it came to be. It is written last."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from darkroom.data.dataset.manifest import OK
from darkroom.data.errors import CountError
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import FileFact, check_file, read_card
from darkroom.data.images.decoder import Decoder
from darkroom.data.stores.workspace import SUMMARY_CARD
from darkroom.models.bundle.runtime import Engine
from darkroom.models.scoring.known_rows import forget_known_rows
from darkroom.models.scoring.plan import read_plan
from darkroom.models.scoring.schema import SCHEMA_VERSION, is_part, part_name, work_folder

logger = logging.getLogger(__name__)


class NamedCount(BaseModel):
    """A number of rows under a status, a label or a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    num_rows: int


class ScoreSummary(BaseModel):
    """`summary.json`: the facts of one run. Only what the rows themselves say is free of time.

    Attributes:
        precision: Of the network that scored: `fp32` or `int8`.
        engine: What ran it, see `darkroom.models.bundle.runtime`.
        embedding_size: Numbers in the column `embedding`; None where there is none.
        decoder: Of the images, in every row; None in a summary of an earlier Darkroom.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    folder: str
    bundle: str
    precision: Literal["fp32", "int8"] = "fp32"
    engine: Engine = "fp32"
    embedding_size: int | None = None
    decoder: Decoder | None = None
    num_files: int
    statuses: tuple[NamedCount, ...]
    labels: tuple[NamedCount, ...]
    reasons: tuple[NamedCount, ...]
    num_abstained: int
    parts: tuple[FileFact, ...]
    rows_reused: int
    started_at: str
    seconds: float
    images_per_second: float
    run_id: str | None


def summarize(out: Path, rows_reused: int, started_at: str, seconds: float, run_id: str | None) -> ScoreSummary:
    """Count the rows of all parts, remove parts of a longer earlier table, write `summary.json`.

    Raises:
        CountError: where the rows are not as many as the files.
    """
    plan = read_plan(out)
    names = [part_name(index) for index in range(plan.num_parts)]
    for stale in {path.name for path in out.iterdir() if is_part(path.name)} - set(names):
        (out / stale).unlink()
        (work_folder(out) / f"{Path(stale).stem}.json").unlink(missing_ok=True)
    counts: dict[str, Counter[str]] = {column: Counter() for column in ("status", "label", "reason")}
    num_abstained = 0
    for name in names:
        table = pq.read_table(out / name, columns=["status", "label", "reason", "abstained"])
        for column, counter in counts.items():
            counter.update(value for value in table[column].to_pylist() if value is not None)
        num_abstained += sum(1 for value in table["abstained"].to_pylist() if value)
    total = sum(counts["status"].values())
    if total != plan.num_files:
        raise CountError(f"{plan.num_files} files of {plan.folder} were planned and {total} rows written.")
    summary = ScoreSummary(
        folder=plan.folder,
        bundle=plan.bundle,
        precision="int8" if plan.engine == "int8" else "fp32",
        engine=plan.engine,
        embedding_size=plan.embedding_size,
        decoder=plan.decoder,
        num_files=plan.num_files,
        statuses=_named(counts["status"]),
        labels=_named(counts["label"]),
        reasons=_named(counts["reason"]),
        num_abstained=num_abstained,
        parts=tuple(FileFact.of(out, name) for name in names),
        rows_reused=rows_reused,
        started_at=started_at,
        seconds=round(seconds, 3),
        images_per_second=round(plan.num_files / max(seconds, 1e-9), 1),
        run_id=run_id,
    )
    write_json(out / SUMMARY_CARD, summary.model_dump(mode="json"))
    forget_known_rows(work_folder(out))
    set_aside = plan.num_files - counts["status"][OK]
    logger.info(
        "%s: %d files scored in %.1f s, %d of them by an earlier run, %d of them set aside.",
        plan.folder, total, seconds, rows_reused, set_aside,
    )  # fmt: skip
    return summary


def read_summary(out: Path) -> ScoreSummary:
    """The summary of a finished table; raises FormatError where it is missing or a part is not as it lists it."""
    summary = read_card(out / SUMMARY_CARD, ScoreSummary, SCHEMA_VERSION)
    for part in summary.parts:
        check_file(out, part)
    return summary


def _named(counter: Counter[str]) -> tuple[NamedCount, ...]:
    return tuple(NamedCount(name=name, num_rows=counter[name]) for name in sorted(counter))
