"""Answers that were paid for: kept in the workspace by image, service, version and settings, and never asked again."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from darkroom.data.errors import FormatError
from darkroom.models.cloud.service import Answer, Word

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    sha256 BLOB, key TEXT, answer TEXT, PRIMARY KEY (sha256, key)
) WITHOUT ROWID
"""
_TIMEOUT_SECONDS = 60


class Answers:
    """The answers, opened; each is on disk before the next is asked for. Thread-safe.

    Args:
        connection: To the database.
        key: Of the settings: see `CloudSettings.key`.
    """

    def __init__(self, connection: sqlite3.Connection, key: str) -> None:
        self._connection, self._key, self._lock = connection, key, threading.Lock()

    def get(self, sha256: str) -> Answer | None:
        """What was answered about an image; None where it was not asked.

        Args:
            sha256: Of the file, hex.
        """
        with self._lock:
            row = self._connection.execute(
                "SELECT answer FROM answers WHERE sha256 = ? AND key = ?", (bytes.fromhex(sha256), self._key)
            ).fetchone()
        if row is None:
            return None
        found = json.loads(row[0])
        return Answer(**{**found, "words": tuple(Word(**word) for word in found["words"])})

    def keep(self, sha256: str, answer: Answer) -> None:
        """Keep an answer.

        Args:
            sha256: Of the file, hex.
            answer: What was said.
        """
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
                (bytes.fromhex(sha256), self._key, json.dumps(asdict(answer), ensure_ascii=False)),
            )


@contextmanager
def open_answers(folder: Path, service: str, key: str) -> Iterator[Answers]:
    """The answers of a service.

    Args:
        folder: Of all services, in the workspace.
        service: Its name.
        key: Of the settings.

    Raises:
        FormatError: where the database is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{service}.sqlite"
    try:
        connection = sqlite3.connect(path, timeout=_TIMEOUT_SECONDS, check_same_thread=False)
        with closing(connection):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_TABLE)
            yield Answers(connection, key)
    except sqlite3.DatabaseError as error:
        raise FormatError(
            f"{path} cannot be read ({error}). Restore it, or remove it and pay for its answers again."
        ) from None
