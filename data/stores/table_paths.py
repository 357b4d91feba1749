"""The files of a prediction table: its folder of parts, and what is beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.files.names import RUN_RECORD

SUMMARY_CARD = "summary.json"
_PART = re.compile(r"part-\d+\.parquet")


@dataclass(frozen=True)
class TablePaths:
    """Where a prediction table is: a folder of parts and nothing else, which any Parquet reader opens as one table, and
    beside it what belongs to the run.

    <folder>/part-00000.parquet …
    <folder>.summary.json                the table's card
    <folder>.run.json                    which run made it
    <folder>.watch.json                  what its last runs were like (`darkroom.models.watching`)
    <folder>.watch.html                  the same as a page
    .<folder>.scoring/                   the lock; while a run is in progress, its plan and unfinished files

    Attributes:
        folder: Absolute, and not the root of a file system.
    """

    folder: Path

    @property
    def summary(self) -> Path:
        """The table's card, written last."""
        return self.folder.with_name(f"{self.folder.name}.{SUMMARY_CARD}")

    @property
    def run_record(self) -> Path:
        """Which run made the table."""
        return self.folder.with_name(f"{self.folder.name}.{RUN_RECORD}")

    @property
    def watch(self) -> Path:
        """What the last runs were like."""
        return self.folder.with_name(f"{self.folder.name}.watch.json")

    @property
    def watch_page(self) -> Path:
        """The same as a page."""
        return self.folder.with_name(f"{self.folder.name}.watch.html")

    @property
    def work(self) -> Path:
        """The hidden folder of the lock and of unfinished work."""
        return self.folder.with_name(f".{self.folder.name}.scoring")

    @property
    def plan(self) -> Path:
        """The plan of the run in progress."""
        return self.work / "plan.json"

    @property
    def planned_files(self) -> Path:
        """The files of that plan, one row each."""
        return self.work / "plan.parquet"

    @property
    def known_rows(self) -> Path:
        """The rows that the run in progress reuses from an earlier table."""
        return self.work / "known.parquet"

    def part(self, index: int) -> Path:
        """`part-00000.parquet`: the rows from `index * rows_per_part` on."""
        return self.folder / f"part-{index:05d}.parquet"

    def parts(self) -> list[Path]:
        """The parts that exist, in the order of their rows."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(path for path in found if is_part(path.name))


def is_part(name: str) -> bool:
    """Whether a file in a table's folder is a part of the table."""
    return _PART.fullmatch(name) is not None
