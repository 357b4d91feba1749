"""What an inbox's table holds, in an SQLite database beside it: which files, by stamp, and which images, by content.

A stamp is that of a part's footer (`darkroom.models.prediction_table.part_file.stamp`), of a file's path, size and
modification time: where it is known, the file is not opened. A content is the SHA-256 of the bytes. The parts hold
both, so that the database is derived from them again where it is lost, damaged or behind them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq

from darkroom.data.errors import FormatError, WorkError
from darkroom.data.parallel import in_batches
from darkroom.data.stores.listing import FileEntry
from darkroom.models.prediction_table.inbox_table import NightTable
from darkroom.models.prediction_table.part_file import is_intact, read_facts, stamp

_VERSION = 1
_TABLES = """
CREATE TABLE parts (id INTEGER PRIMARY KEY, name TEXT UNIQUE, bytes INTEGER, mtime_ns INTEGER, num_rows INTEGER);
CREATE TABLE rows (content BLOB, model TEXT, part INTEGER, PRIMARY KEY (content, model)) WITHOUT ROWID;
CREATE TABLE files (stamp INTEGER PRIMARY KEY, content BLOB);
CREATE TABLE waiting (stamp INTEGER PRIMARY KEY, since_ns INTEGER);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT);
"""
_ARRIVALS = """
CREATE TEMP TABLE arrivals (
    path TEXT, os_path BLOB, bytes INTEGER, mtime_ns INTEGER, reason TEXT, etag TEXT, PRIMARY KEY (path, os_path)
) WITHOUT ROWID
"""
_TIMEOUT_SECONDS = 60
_MANY = 500
# Reasons that may go without the file being changed: it is tried again, and has its row already.
_PASSING = frozenset({"unreadable", "link_outside", "broken_link"})


@dataclass(frozen=True)
class Row:
    """A row of the table, as the database knows it.

    Attributes:
        stamp: Of its file, 16 hex digits.
        content: See `content_of`.
        reason: Why its file was quarantined, or None.
    """

    stamp: str
    content: bytes
    reason: str | None


def content_of(sha256: str | None, path: str, reason: str | None) -> bytes:
    """What an image is told by: its SHA-256, or of a file without one its path and why it was not read.

    Args:
        sha256: Hex digits, or None.
        path: Of the file.
        reason: Why it was not read.
    """
    return bytes.fromhex(sha256) if sha256 else hashlib.sha256(f"{reason}\0{path}".encode()).digest()


def stamp_of(entry: FileEntry) -> str:
    """The stamp of a listed file."""
    facts = {"path": entry.path, "bytes": entry.size_bytes, "mtime_ns": entry.mtime_ns}
    return stamp({**facts, "etag": entry.etag, "reason": entry.reason})


class Known:
    """The database, opened.

    Args:
        connection: To it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def known_stamps(self, stamps: Sequence[str], model: str | None) -> set[str]:
        """Those of some stamps whose files have a row.

        Args:
            stamps: Of files.
            model: Only a row of this model counts; None for a row of any.
        """
        found: set[str] = set()
        of_model = " AND model = ?" if model else ""
        for few in in_batches(stamps, _MANY):
            marks = ", ".join("?" * len(few))
            rows = self._connection.execute(
                f"SELECT stamp FROM files WHERE stamp IN ({marks}) AND EXISTS "  # noqa: S608 -- question marks alone
                f"(SELECT 1 FROM rows WHERE rows.content = files.content{of_model})",
                [*map(_signed, few), *([model] if model else [])],
            )
            found.update(_hex(row[0]) for row in rows)
        return found

    def has(self, content: bytes, model: str | None) -> bool:
        """Whether an image has a row.

        Args:
            content: As `content_of` gives it.
            model: Only a row of this model counts; None for a row of any.
        """
        query, values = "SELECT 1 FROM rows WHERE content = ?", [content, *([model] if model else [])]
        return self._connection.execute(query + (" AND model = ?" if model else ""), values).fetchone() is not None

    def num_rows(self) -> int:
        """Rows of the table."""
        (number,) = self._connection.execute("SELECT coalesce(sum(num_rows), 0) FROM parts").fetchone()
        return int(number)

    def add_part(self, name: str, path: Path, model: str, rows: Sequence[Row]) -> None:
        """Remember a part; the caller commits.

        Args:
            name: Relative to the table.
            path: Its file.
            model: What made its rows.
            rows: These.
        """
        found = path.stat()
        added = self._connection.execute(
            "INSERT INTO parts (name, bytes, mtime_ns, num_rows) VALUES (?, ?, ?, ?)",
            (name, found.st_size, found.st_mtime_ns, len(rows)),
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", ((row.content, model, added.lastrowid) for row in rows)
        )
        self.add_files((row.stamp, row.content) for row in rows if row.reason not in _PASSING)

    def add_files(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Remember files by stamp and content; the caller commits."""
        pairs = [(_signed(each), content) for each, content in files]
        self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?)", pairs)
        self._connection.executemany("DELETE FROM waiting WHERE stamp = ?", ((pair[0],) for pair in pairs))

    def follow(self, table: NightTable) -> None:
        """Make the database say what the table's parts say: learn those that it lacks, forget those that are gone.

        Args:
            table: The table.

        Raises:
            FormatError: where a part is damaged.
        """
        there = {name: (path, path.stat()) for name, path in table.parts().items()}
        listed = self._connection.execute("SELECT id, name, bytes, mtime_ns FROM parts").fetchall()
        same = set()
        for number, name, num_bytes, mtime_ns in listed:
            if name in there and (there[name][1].st_size, there[name][1].st_mtime_ns) == (num_bytes, mtime_ns):
                same.add(name)
                continue
            self._connection.execute("DELETE FROM rows WHERE part = ?", (number,))
            self._connection.execute("DELETE FROM parts WHERE id = ?", (number,))
        for name in there.keys() - same:
            path = there[name][0]
            facts = read_facts(path)
            if facts is None or not is_intact(path):
                raise FormatError(
                    f"{path} is damaged. Restore it, or remove it: its images are scored again if they are still there."
                )
            self.remember("folder", facts.folder)
            self.add_part(name, path, facts.bundle, _rows_in(path, facts.stamps))
        self.commit()

    def fact(self, name: str) -> str | None:
        """Something remembered by name."""
        found = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else None

    def remember(self, name: str, value: str) -> None:
        """Remember something; the caller commits.

        Args:
            name: By which it is asked for.
            value: What it is.
        """
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def waiting_since(self, stamp: str, now_ns: int) -> int:
        """When a file that may still be written was first seen as it is: now, or in an earlier run; the caller commits.

        Args:
            stamp: The file's.
            now_ns: Nanoseconds since 1970.
        """
        self._connection.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?)", (_signed(stamp), now_ns))
        query = "SELECT since_ns FROM waiting WHERE stamp = ?"
        return int(self._connection.execute(query, (_signed(stamp),)).fetchone()[0])

    def forget_waiting(self, before_ns: int) -> None:
        """Forget files that were waiting long ago and have not been seen as they were then; the caller commits."""
        self._connection.execute("DELETE FROM waiting WHERE since_ns < ?", (before_ns,))

    def add_arrivals(self, rows: Iterable[tuple[str, bytes, int, int, str | None, str | None]]) -> None:
        """Keep new files, on disk, until they are asked for in order.

        Args:
            rows: Path, path for the system, bytes, modification time, reason and ETag.
        """
        self._connection.executemany("INSERT OR IGNORE INTO temp.arrivals VALUES (?, ?, ?, ?, ?, ?)", rows)

    def arrivals(self) -> Iterator[FileEntry]:
        """The new files, sorted by path."""
        for path, os_path, num_bytes, mtime_ns, reason, etag in self._connection.execute(
            "SELECT path, os_path, bytes, mtime_ns, reason, etag FROM temp.arrivals ORDER BY path, os_path"
        ):
            yield FileEntry(path, os_path.decode("utf-8", "surrogateescape"), num_bytes, mtime_ns, reason, etag)

    def commit(self) -> None:
        """Make what was changed last."""
        self._connection.commit()


@contextmanager
def open_known(table: NightTable) -> Iterator[Known]:
    """Open the database to change it, made anew where it is missing or damaged; the caller holds the table's lock.

    Args:
        table: The table that it stands beside.

    Raises:
        WorkError: where it cannot be used.
    """
    try:
        connection = _connected(table.known)
    except sqlite3.DatabaseError:  # damaged, or of another version: the parts say it all again
        for path in (table.known, table.known.with_name(f"{table.known.name}-journal")):
            path.unlink(missing_ok=True)
        connection = _connected(table.known)
    with _explained(table.known), closing(connection):
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute(_ARRIVALS)
        yield Known(connection)


@contextmanager
def read_known(table: NightTable) -> Iterator[Known]:
    """Open the database to read it, as the workers of a run do.

    Args:
        table: The table that it stands beside.

    Raises:
        WorkError: where it cannot be used.
    """
    with _explained(table.known):
        address = f"file:{quote(str(table.known))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=_TIMEOUT_SECONDS)) as connection:
            yield Known(connection)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_TIMEOUT_SECONDS)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT")
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
        connection.execute("SELECT * FROM facts").fetchall()
    except sqlite3.OperationalError as error:
        connection.close()
        raise _unusable(path, error, "Make its folder writable, and run again.") from None
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _unusable(path, error, "Remove it, and run again: it is derived from the table.") from error


def _unusable(path: Path, error: sqlite3.Error, remedy: str) -> WorkError:
    """Why the database cannot be used; a full disk has a remedy of its own."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return WorkError(f"Disk full: {path} was not written. Free some space, and run again: nothing is lost.")
    return WorkError(f"{path} cannot be used: {error}. {remedy}")


def _rows_in(path: Path, stamps: Sequence[str]) -> list[Row]:
    found = pq.read_table(path, columns=["path", "sha256", "reason"]).to_pylist()
    return [
        Row(each, content_of(row["sha256"], row["path"], row["reason"]), row["reason"])
        for each, row in zip(stamps, found, strict=True)
    ]


def _signed(stamp: str) -> int:
    """A stamp as SQLite's integer of 64 bits."""
    return int.from_bytes(bytes.fromhex(stamp), "big", signed=True)


def _hex(value: int) -> str:
    return value.to_bytes(8, "big", signed=True).hex()
