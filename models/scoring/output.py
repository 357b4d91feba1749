"""Where a prediction table goes: a folder, or a folder in a store with a copy here in which it is made.

The store's table is never a mixture: its `summary.json` is removed before anything else changes there, each part
appears whole, with its note after it, and `summary.json` comes last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.errors import InputError
from darkroom.data.files.provenance import RUN_RECORD
from darkroom.data.stores.mirror import Mirror
from darkroom.data.stores.storage import Url
from darkroom.data.stores.workspace import SUMMARY_CARD
from darkroom.models.scoring.schema import WORK_FOLDER, note_name, part_name

_PLAN = tuple(f"{WORK_FOLDER}/{name}" for name in ("plan.parquet", "plan.json", "known.parquet"))
_OURS = re.compile(
    rf"part-\d+\.parquet|{re.escape(SUMMARY_CARD)}|{re.escape(RUN_RECORD)}"
    rf"|{re.escape(WORK_FOLDER)}/(?:plan\.parquet|plan\.json|known\.parquet|part-\d+\.json)"
)


@dataclass(frozen=True)
class TableOutput:
    """The folder of a table.

    Attributes:
        folder: Where it is made.
        mirror: Of the store that it goes to; None where the folder is all.
        inside: The table's folder in the mirror.
    """

    folder: Path
    mirror: Mirror | None = None
    inside: str = ""

    @property
    def reference(self) -> str:
        """The path or the URL."""
        return str(self.mirror.url / self.inside) if self.mirror else str(self.folder)

    def check_apart(self, folder: Path | Url) -> None:
        """Refuse a table inside the folder in a store that is to be scored."""
        if self.mirror and isinstance(folder, Url) and f"{self.reference}/".startswith(f"{folder}/"):
            raise InputError(
                f"The output {self.reference} lies inside the scored folder {folder}. Choose another with --out."
            )

    def fetch(self) -> None:
        """Bring here what the store has of a table, to go on with it.

        Raises:
            InputError: where it holds a table of another program.
        """
        if self.mirror:
            there = self.mirror.listed(self.inside, self._is_ours)
            hidden = self._name(WORK_FOLDER) + "/"
            tables = sorted(name for name in there if not name.startswith(hidden))
            if tables and self._name(f"{WORK_FOLDER}/plan.json") not in there:
                raise InputError(
                    f"The output {self.reference} holds {tables[0]}, which Darkroom did not write there. Nothing was "
                    "changed: choose another folder with --out."
                )
            self.mirror.pull(self.inside, self._is_ours, self._name(SUMMARY_CARD))

    def share_plan(self) -> None:
        """The plan is written: from now on the store's table is not whole, if it is to change."""
        if self.mirror:
            if not (self.folder / SUMMARY_CARD).is_file():
                self.mirror.remove(self._name(SUMMARY_CARD))
            self.mirror.push(self._name(name) for name in _PLAN)

    def share_part(self, index: int) -> None:
        """A part is whole."""
        if self.mirror:
            self.mirror.push([self._name(part_name(index))])
            self.mirror.push([self._name(note_name(index))])

    def share_table(self) -> None:
        """The table is whole: what an earlier, longer one left goes away, and the summary comes last."""
        if self.mirror:
            self.mirror.remove_gone(self.inside, self._is_ours)
            self.mirror.push_folder(self.inside, self._name(SUMMARY_CARD), self._is_ours)

    def _name(self, name: str) -> str:
        return f"{self.inside}/{name}" if self.inside else name

    def _is_ours(self, name: str) -> bool:
        return _OURS.fullmatch(name[len(self.inside) :].lstrip("/")) is not None
