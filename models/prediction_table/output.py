"""Where a prediction table goes: a folder, or a folder in a store with a copy here in which it is made.

The store's table is never a mixture: its summary is removed before anything else changes there, each part appears
whole, and the summary comes last. The work folder stays on this machine: the parts tell what they were made from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.errors import InputError
from darkroom.data.files.names import RUN_RECORD
from darkroom.data.stores.mirror import Mirror
from darkroom.data.stores.table_paths import SUMMARY_CARD, TablePaths, is_part
from darkroom.models.prediction_table import earlier_layout
from darkroom.models.prediction_table.part_file import is_ours


@dataclass(frozen=True)
class TableOutput:
    """Where a table is written.

    Attributes:
        folder: On this machine, absolute.
        mirror: The mirror of a store's folder that it is in; None where it goes to no store.
    """

    folder: Path
    mirror: Mirror | None = None

    @property
    def paths(self) -> TablePaths:
        """The table's files."""
        return TablePaths(self.folder)

    @property
    def reference(self) -> str:
        """The path or URL."""
        return str(self.mirror.url / self._inside(self.mirror)) if self.mirror else str(self.folder)

    def fetch(self) -> None:
        """Download what the store has of the table, to continue it.

        Raises:
            InputError: where the folder holds another program's table, whose parts would be taken for outdated ones.
        """
        if self.mirror is None:
            self._refuse_foreign()
            return
        inside = self._inside(self.mirror)
        there = sorted(self.mirror.listed(inside, _of_table(inside)))
        tried = [self.paths.summary, *(self.mirror.folder / name for name in there if is_part(Path(name).name))][:2]
        for path in tried:
            self.mirror.pull_one(self.mirror.name_of(path))
        if f"{inside}/{earlier_layout.WORK_FOLDER}/plan.json" not in there:
            try:
                self._refuse_foreign()
            except InputError:
                for path in tried:
                    path.unlink(missing_ok=True)
                raise
        self.mirror.pull(inside, _of_table(inside))
        self.mirror.pull_one(self.mirror.name_of(self.paths.run_record))

    def share_plan(self) -> None:
        """Remove the summary from the store where the plan changes the table: from now on it is not complete."""
        if self.mirror:
            summaries = [self.paths.summary]
            if earlier_layout.is_earlier(self.paths):
                summaries.append(earlier_layout.summary(self.paths))
            for summary in summaries:
                if not summary.is_file():
                    self.mirror.remove(self.mirror.name_of(summary))

    def share_part(self, index: int) -> None:
        """Upload a complete part, by its index."""
        if self.mirror:
            self.mirror.push([self.mirror.name_of(self.paths.part(index))])

    def share_table(self) -> None:
        """Upload the complete table, its summary last; what an earlier, longer table left is removed."""
        if self.mirror:
            inside = self._inside(self.mirror)
            self.mirror.remove_gone(inside, _of_table(inside))
            self.mirror.push_folder(inside, "", _of_table(inside))
            self.mirror.push([self.mirror.name_of(self.paths.run_record)])
            self.mirror.push([self.mirror.name_of(self.paths.summary)])

    def share_beside(self, path: Path) -> None:
        """Upload a file that stands beside the table."""
        if self.mirror:
            self.mirror.push([self.mirror.name_of(path)])

    def reference_of(self, path: Path) -> str:
        """The path or URL of a file that stands beside the table."""
        return str(self.mirror.url / self.mirror.name_of(path)) if self.mirror else str(path)

    def _refuse_foreign(self) -> None:
        table = self.paths
        parts = table.parts()
        if earlier_layout.is_earlier(table) or any(map(is_ours, parts)) or _is_our_summary(table.summary):
            return
        strange = parts[0] if parts else table.summary
        if strange.is_file():
            name = strange.relative_to(self.folder.parent).as_posix()
            raise InputError(
                f"The output {self.reference} is taken: Darkroom did not write {name}. Nothing was changed. Choose "
                "another output with --out."
            )

    def _inside(self, mirror: Mirror) -> str:
        return mirror.name_of(self.folder)


def _of_table(inside: str) -> Callable[[str], bool]:
    """Whether a file is one of a table's folder in a store: a part, or what the earlier layout had there."""
    earlier = rf"{re.escape(SUMMARY_CARD)}|{re.escape(RUN_RECORD)}|{re.escape(earlier_layout.WORK_FOLDER)}/[^/]+"
    pattern = re.compile(rf"{re.escape(inside)}/(?:part-\d+\.parquet|{earlier})")
    return lambda name: pattern.fullmatch(name) is not None


def _is_our_summary(path: Path) -> bool:
    try:
        return bool({"schema_version", "bundle", "parts"} <= json.loads(path.read_text(encoding="utf-8")).keys())
    except (OSError, ValueError, AttributeError):
        return False
