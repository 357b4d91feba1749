"""A local mirror of a folder in an object store: downloads what is needed, uploads what was built.

<base>/
  files/                               the folder itself
  objects.sqlite                       of each file: its size and time here, and the etag that it had there

A file is fetched where the store's etag is another than the one that its copy here was made from, and uploaded where
its size or time here is another. Losing `objects.sqlite` costs transfers, nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.data.errors import ImageError, SourceError, WorkError
from darkroom.data.files.atomic import TEMPORARY_PREFIX
from darkroom.data.files.names import SafeNames
from darkroom.data.parallel import ordered_map
from darkroom.data.stores.listing import printable
from darkroom.data.stores.storage import (
    ObjectFact,
    Url,
    download,
    find_object,
    list_objects,
    read_object,
    remove,
    upload,
)

if TYPE_CHECKING:
    import sqlite3

logger = logging.getLogger(__name__)

_NUM_TRANSFERS = 16
_TABLE = "CREATE TABLE IF NOT EXISTS copies (name TEXT PRIMARY KEY, bytes INTEGER, mtime_ns INTEGER, etag TEXT)"
_RENAME = "Rename it in the store, or give a folder without it."


def everything(name: str) -> bool:
    """Accept every name."""
    return True


@dataclass(frozen=True)
class _Copy:
    """What was known of a file when it was last the same here and there."""

    size_bytes: int
    mtime_ns: int
    etag: str


@dataclass(frozen=True)
class Mirror:
    """A folder in a store and its local copy; names are relative to both, `/`-separated.

    Attributes:
        url: The folder in the store.
        base: Holds the copy (`files/`) and what is known of it (`objects.sqlite`).
    """

    url: Url
    base: Path

    @property
    def folder(self) -> Path:
        """The local copy."""
        return self.base / "files"

    def pull(
        self,
        inside: str = "",
        wanted: Callable[[str], bool] = everything,
        last: str | None = None,
        sha256: Mapping[str, str] | None = None,
    ) -> int:
        """Download what the store has and this machine lacks, or has in another version; returns the number of files.

        A file that was changed here since the two were last equal is kept, unless the store's was changed as well.

        Args:
            inside: Only what is below this folder; "" for everything.
            wanted: Whether a name is to be mirrored.
            last: The name of the file to download after all others.
            sha256: The hash that a file must have, by name.

        Raises:
            SourceError: where a name in the store cannot be a file here.
            WorkError, InputError: as `darkroom.data.stores.storage` raises them.
        """
        there = self.listed(inside, wanted)
        with self._known() as known:
            missing = [fact for fact in there.values() if self._must_fetch(fact, known.get(fact.name))]
            known.keep_only(there, inside, wanted)
            self._fetch([fact for fact in missing if fact.name != last], known, sha256 or {})
            self._fetch([fact for fact in missing if fact.name == last], known, sha256 or {})
        return len(missing)

    def pull_one(self, name: str) -> bool:
        """Download a single file as `pull` does; returns whether the store has it."""
        fact = find_object(self.url / name)
        with self._known() as known:
            if fact is None:
                known.forget(name)
                return False
            fact = ObjectFact(name, fact.size_bytes, fact.etag, fact.mtime_ns)
            if self._must_fetch(fact, known.get(name)):
                self._fetch([fact], known, {})
        return True

    def copy_exactly(self) -> int:
        """Make the local folder equal to the one in the store; returns the number of files downloaded."""
        there = self.listed("")
        with self._known() as known:
            known.keep_only(there, "", everything)
            missing = [fact for fact in there.values() if not self._is_copy(fact, known.get(fact.name))]
            for folder, _, files in os.walk(self.folder, topdown=False):
                for path in (Path(folder, name) for name in files):  # also what a killed run left unfinished
                    if self.name_of(path) not in there:
                        path.unlink()
                if Path(folder) != self.folder and not os.listdir(folder):
                    Path(folder).rmdir()
            self._fetch(missing, known, {})
        return len(missing)

    def push(self, names: Iterable[str]) -> int:
        """Upload those files that the store lacks or has in another version; returns their number."""
        with self._known() as known:
            here = [name for name in names if (self.folder / name).is_file()]
            changed = [name for name in here if not self._is_pushed(name, known.get(name))]
            for name, copy in ordered_map(self._upload, changed, _NUM_TRANSFERS, window=2 * _NUM_TRANSFERS):
                known.put(name, copy)
        return len(changed)

    def push_folder(self, inside: str, last: str, wanted: Callable[[str], bool] = everything) -> int:
        """Upload what the store lacks of a local folder, one file last; returns the number of uploads.

        Readers take the folder for incomplete as long as `last` is not in the store.

        Args:
            inside: The folder.
            last: The name of the file to upload last.
            wanted: Whether a name is to be mirrored.
        """
        names = self._names(inside, wanted)
        with self._known() as known:
            known.keep_only(self.listed(inside, wanted), inside, wanted)
        return self.push(name for name in names if name != last) + self.push(name for name in names if name == last)

    def remove_gone(self, inside: str, wanted: Callable[[str], bool] = everything) -> None:
        """Remove from the store what the local folder no longer holds.

        Args:
            inside: The folder.
            wanted: Whether a name is to be mirrored.
        """
        for name in set(self.listed(inside, wanted)) - set(self._names(inside, wanted)):
            self.remove(name)

    def remove(self, name: str) -> None:
        """Remove a file from the store; a missing one is no error."""
        remove(self.url / name)
        with self._known() as known:
            known.forget(name)

    def listed(self, inside: str, wanted: Callable[[str], bool] = everything) -> dict[str, ObjectFact]:
        """What the store has below a folder, by name.

        Args:
            inside: The folder; "" for everything.
            wanted: Whether a name is to be mirrored.
        """
        return {fact.name: fact for fact in self._listed(inside, wanted)}

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """A small file's content as it is in the store; None where it is not there.

        Args:
            name: The file.
            max_bytes: A larger file is an error.

        Raises:
            WorkError: where it is too large or cannot be read.
        """
        if find_object(self.url / name) is None:
            return None
        try:
            return read_object(self.url / name, max_bytes)
        except ImageError as error:
            raise WorkError(f"{self.url / name} cannot be read ({error}).") from None

    def name_of(self, path: Path) -> str:
        """The name of a local file or folder; "" for the mirrored folder itself."""
        name = path.relative_to(self.folder).as_posix()
        return "" if name == "." else name

    def _listed(self, inside: str, wanted: Callable[[str], bool]) -> Iterator[ObjectFact]:
        names, folders, files = SafeNames(), set[str](), set[str]()
        for fact in list_objects(self.url / inside):
            if fact.name.endswith("/") and fact.size_bytes == 0:  # what consoles make for an empty folder
                continue
            full = f"{inside}/{fact.name}" if inside else fact.name
            if not wanted(full):
                continue
            try:
                safe = names.check(full)
                if safe != full:
                    raise ValueError("has parts without a name")
            except ValueError as error:
                raise self._refusal(full, str(error)) from None
            files.add(full)
            parts = full.split("/")
            folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
            yield fact if not inside else ObjectFact(full, fact.size_bytes, fact.etag, fact.mtime_ns)
        if both := files & folders:
            raise self._refusal(min(both), "is a file and a folder at once")

    def _refusal(self, name: str, reason: str) -> SourceError:
        return SourceError(f"{printable(str(self.url))} is refused: its object {printable(name)!r} {reason}. {_RENAME}")

    def _names(self, inside: str, wanted: Callable[[str], bool]) -> list[str]:
        found = []
        for place, folders, files in os.walk(self.folder / inside):
            folders[:] = [name for name in folders if not name.startswith(TEMPORARY_PREFIX)]
            names = (self.name_of(Path(place, name)) for name in files if not name.startswith(TEMPORARY_PREFIX))
            found += [name for name in names if wanted(name)]
        return sorted(found)

    def _must_fetch(self, fact: ObjectFact, copy: _Copy | None) -> bool:
        return copy is None or copy.etag != fact.etag or not (self.folder / fact.name).is_file()

    def _is_copy(self, fact: ObjectFact, copy: _Copy | None) -> bool:
        return copy is not None and copy.etag == fact.etag and self._is_pushed(fact.name, copy)

    def _is_pushed(self, name: str, copy: _Copy | None) -> bool:
        try:
            found = (self.folder / name).stat()
        except FileNotFoundError:
            return False
        return copy is not None and (copy.size_bytes, copy.mtime_ns) == (found.st_size, found.st_mtime_ns)

    def _fetch(self, facts: Sequence[ObjectFact], known: _Known, sha256: Mapping[str, str]) -> None:
        def fetch(fact: ObjectFact) -> ObjectFact:
            download(self.url / fact.name, self.folder / fact.name, fact.size_bytes, sha256.get(fact.name))
            return fact

        for fact in ordered_map(fetch, facts, _NUM_TRANSFERS, window=2 * _NUM_TRANSFERS):
            known.put(fact.name, self._stamped(fact.name, fact))
        if facts:
            size = sum(fact.size_bytes for fact in facts) / 2**20
            logger.debug("%s: %d files fetched, %.1f MiB", self.url, len(facts), size)

    def _upload(self, name: str) -> tuple[str, _Copy]:
        before = (self.folder / name).stat()
        fact = upload(self.folder / name, self.url / name)
        after = (self.folder / name).stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise WorkError(f"{self.folder / name} was changed while it was uploaded. Run the same command again.")
        return name, self._stamped(name, fact)

    def _stamped(self, name: str, fact: ObjectFact) -> _Copy:
        """The store's time becomes the file's, so that all machines agree on which version is the newest."""
        path = self.folder / name
        if fact.mtime_ns:
            os.utime(path, ns=(fact.mtime_ns, fact.mtime_ns))
        return _Copy(fact.size_bytes, path.stat().st_mtime_ns, fact.etag)

    @contextmanager
    def _known(self) -> Iterator[_Known]:
        import sqlite3

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.base / "objects.sqlite"
        try:
            connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(_TABLE)
                yield _Known(connection)
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise WorkError(
                f"{path} cannot be used: {error}. Remove {self.base}, and run the same command again."
            ) from None


class _Known:
    """The table of `objects.sqlite`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, name: str) -> _Copy | None:
        row = self._connection.execute("SELECT bytes, mtime_ns, etag FROM copies WHERE name = ?", (name,)).fetchone()
        return _Copy(*row) if row else None

    def put(self, name: str, copy: _Copy) -> None:
        row = (name, copy.size_bytes, copy.mtime_ns, copy.etag)
        self._connection.execute("INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?)", row)

    def forget(self, name: str) -> None:
        self._connection.execute("DELETE FROM copies WHERE name = ?", (name,))

    def keep_only(self, there: Iterable[str], inside: str, wanted: Callable[[str], bool]) -> None:
        """Forget the names below `inside` that are no longer in the store."""
        kept, prefix = set(there), f"{inside}/" if inside else ""
        names = [row[0] for row in self._connection.execute("SELECT name FROM copies")]
        for name in names:
            if name.startswith(prefix) and wanted(name) and name not in kept:
                self.forget(name)
