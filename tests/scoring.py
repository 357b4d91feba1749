"""Scorings by the plain functions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from darkroom.data.dataset.manifest import read_group
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import FileFact
from darkroom.data.files.hashing import content_version, file_sha256
from darkroom.data.stores.storage import Url
from darkroom.data.stores.table_paths import TablePaths
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.onnx.runtime import Engine
from darkroom.models.prediction_table.output import TableOutput
from darkroom.models.scoring.plan import ScorePlan, plan_scoring, rows_key
from darkroom.models.scoring.request import ScoreRequest


def plan(
    folder: Path | Url,
    bundle: Bundle,
    out: Path | TableOutput,
    rows_per_part: int = 1000,
    engine: Engine | None = "fp32",
    **how: Any,
) -> ScorePlan:
    """The plan of a scoring, written."""
    table = out if isinstance(out, TableOutput) else TableOutput(out)
    return plan_scoring(ScoreRequest(folder, bundle.folder, table, rows_per_part, **how), bundle, engine)


def make_earlier(table: TablePaths, folder: Path | Url, bundle: Bundle, rows_per_part: int) -> None:
    """Make a finished table one of the earlier layout: parts without facts, all else inside the folder."""
    planned = plan(folder, bundle, TableOutput(table.folder), rows_per_part)
    key = rows_key(bundle, planned)
    work = table.folder / ".scoring"
    work.mkdir()
    for index in range(planned.num_parts):
        part = table.part(index)
        pq.write_table(pq.read_table(part), part, compression="zstd")
        files = (
            read_group(table.planned_files, index).select(["path", "bytes", "mtime_ns", "etag", "reason"]).to_pylist()
        )
        note = {"key": content_version(key, [list(file.values()) for file in files]), "sha256": file_sha256(part)}
        write_json(work / f"{part.stem}.json", note)
    facts = [FileFact.of(table.folder, path.name).model_dump() for path in table.parts()]
    card = json.loads(table.summary.read_text())
    write_json(table.folder / "summary.json", card | {"parts": facts})
    table.summary.unlink()
    table.run_record.rename(table.folder / "run.json")
    table.plan.rename(work / "plan.json")
    table.planned_files.rename(work / "plan.parquet")
    (work / ".lock").touch()
    shutil.rmtree(table.work)
