"""Reuse: what an earlier ingest of the same folder made of a file that has not changed since is taken over as it is.

After it was published, the work of an ingest stays as `datasets/<name>/.earlier-<fingerprint>/` (its shards are hard
links to those of the data set); work that was given up lies in `.staging-<fingerprint>/`. The next plan names, for each
file whose path, size and time are as they were, the folder and the part to take it from. The bytes are those that
decoding the file again would give, because nothing is taken over from other settings.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.data.dataset.duplicate_summary import THUMBNAILS
from darkroom.data.dataset.manifest import OK, ManifestRow, from_table
from darkroom.data.errors import FormatError
from darkroom.data.files.atomic import remove_folder
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.shards.records import Record
from darkroom.data.shards.shard_names import part_shards
from darkroom.data.shards.shards import read_shard
from darkroom.data.task import TASKS, TaskName

logger = logging.getLogger(__name__)

_KEY = ["os_path", "bytes", "mtime_ns"]


@dataclass(frozen=True)
class Known:
    """What an earlier ingest made of a file.

    Attributes:
        row: The manifest's.
        thumbnail: `uint8[32, 32]`; None where the file is quarantined.
        records: The stored image and its copies; () where the file is quarantined.
    """

    row: ManifestRow
    thumbnail: NDArray[np.uint8] | None
    records: tuple[Record, ...]


def with_earlier(table: pa.Table, folders: Sequence[Path]) -> pa.Table:
    """A plan's files with the columns `earlier` (name of a folder) and `earlier_part`, null where a file is new.

    Args:
        table: With the columns `os_path`, `bytes`, `mtime_ns`; its order is kept.
        folders: Work of earlier ingests with the same settings, the best first.
    """
    names = pa.nulls(table.num_rows, pa.string())
    parts = pa.nulls(table.num_rows, pa.int32())
    for folder in folders:
        known = _finished(folder)
        keys = table.select(_KEY).append_column("place", pa.array(range(table.num_rows)))
        joined = keys.join(known, keys=_KEY, join_type="left outer").sort_by("place")
        found = joined["earlier_part"].combine_chunks()
        parts = pc.coalesce(parts, found)
        names = pc.coalesce(names, pc.if_else(found.is_valid(), folder.name, None))
    return table.append_column("earlier", names).append_column("earlier_part", parts)


def keep_work(staging: Path) -> None:
    """Keep the parts for the next ingest in place of all earlier work; shards are hard links and take no space."""
    for old in staging.parent.glob(".[es]*-*"):
        if old != staging:
            remove_folder(old)
    staging.rename(staging.with_name(staging.name.replace(".staging-", ".earlier-")))


def known_files(datasets: Path, files: Sequence[dict[str, Any]]) -> dict[bytes, Known]:
    """What earlier work holds of these files, by `os_path`; files of a damaged part are read again.

    Args:
        datasets: The folder of all versions of the data set, in which the work lies.
        files: Rows of the plan.
    """
    wanted: dict[tuple[str, int], dict[str, bytes]] = {}
    for file in files:
        if file["earlier"] is not None:
            wanted.setdefault((file["earlier"], file["earlier_part"]), {})[file["path"]] = file["os_path"]
    known: dict[bytes, Known] = {}
    for (name, index), paths in wanted.items():
        try:
            labels = _labels_of(json.loads((datasets / name / "plan.json").read_text(encoding="utf-8")))
            part = _read_part(part_folder(datasets / name, index), set(paths), labels)
            known |= {paths[each.row.path]: each for each in part}
        except (OSError, EOFError, ValueError, KeyError, FormatError) as error:
            logger.info("%s, part %d, cannot be used (%s): its files are read again.", name, index, error)
    return known


def relabelled(known: Known, label: str, source_split: str | None, split: str | None, labels: LabelMap) -> Known:
    """The same file with the label and the splits that the new plan gives it.

    Args:
        known: What an earlier ingest made of it.
        label: The class.
        source_split: The split that the source gives it, or None.
        split: `train`, `validation` or `test`; None where it is quarantined.
        labels: The new plan's label map.
    """
    row = replace(known.row, label=label, source_split=source_split, split=split)
    records = (replace(record, label=label, indices=labels.indices(label)) for record in known.records)
    return replace(known, row=row, records=tuple(records))


def part_folder(folder: Path, index: int) -> Path:
    """The folder of one part of an ingest; the only function that builds its name.

    Args:
        folder: The ingest's staging folder, or earlier work.
        index: The part, from 0.
    """
    return folder / "parts" / f"{index:05d}"


def _labels_of(plan: dict[str, Any]) -> LabelMap:
    """The label map of a plan of earlier work."""
    task: TaskName = plan["settings"]["labels"].get("task", "single-label")
    return LabelMap(tuple(plan["labels"]), TASKS[task])


def _finished(folder: Path) -> pa.Table:
    """The files of the finished parts of a work folder."""
    plan = pq.read_table(folder / "plan.parquet", columns=[*_KEY, "part"])
    done = [index for index in pc.unique(plan["part"]).to_pylist() if part_folder(folder, index).is_dir()]
    return plan.filter(pc.is_in(plan["part"], pa.array(done, pa.int32()))).rename_columns([*_KEY, "earlier_part"])


def _read_part(part: Path, paths: set[str], labels: LabelMap) -> Iterator[Known]:
    manifest = pq.read_table(part / "manifest.parquet")
    thumbnails = np.load(part / THUMBNAILS, mmap_mode="r", allow_pickle=False)
    records: dict[str, list[Record]] = {}
    for shard in part_shards(part):
        for record in read_shard(shard, labels):
            if record.path in paths:
                records.setdefault(record.path, []).append(record)
    for place, row in enumerate(from_table(manifest)):
        if row.path in paths:
            used = row.status == OK
            yield Known(row, np.array(thumbnails[place]) if used else None, tuple(records.get(row.path, ())))
