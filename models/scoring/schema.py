"""The prediction table: its columns, and the names of its files.

`<out>/part-00000.parquet …` hold `SCHEMA`, and the column `embedding` where it was asked for, sorted by path;
`summary.json` is written last and lists them. Work in progress lies in `<out>/.scoring/`: `plan.parquet` and, for each
finished part, `part-00000.json` with the key of what it was made from, by which a rerun knows that it need not be made
again.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

SCHEMA_VERSION = 1
WORK_FOLDER = ".scoring"
EMBEDDING = "embedding"
_PART = re.compile(r"part-\d+\.parquet")

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("label", pa.string()),
        ("confidence", pa.float32()),
        ("abstained", pa.bool_()),
        ("top_k", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


def part_name(index: int) -> str:
    """`part-00000.parquet`: rows from `index * rows_per_part` on."""
    return f"part-{index:05d}.parquet"


def note_name(index: int) -> str:
    """`.scoring/part-00000.json`: what that part was made from."""
    return f"{WORK_FOLDER}/part-{index:05d}.json"


def work_folder(out: Path) -> Path:
    """Where work in progress lies."""
    return out / WORK_FOLDER


def note_file(out: Path, index: int) -> Path:
    """Where it is written what a part was made from."""
    return out / note_name(index)


def is_part(name: str) -> bool:
    """Whether a file of an output is a part of a table."""
    return _PART.fullmatch(name) is not None
