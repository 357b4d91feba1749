"""File names: one of our own, and those from archives and stores, checked before any of them becomes a file here."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

# Beside every output: which run made it, with all settings and library versions (provenance.py).
RUN_RECORD = "run.json"

# Python makes and removes nested folders by calling itself, about a thousand times at most.
_MAX_DEPTH = 100
_MAX_PART_BYTES = 255


class SafeNames:
    """The names of one archive or of one folder in a store; holds 16 bytes of hash for each."""

    def __init__(self) -> None:
        """Start with no names seen."""
        self._seen: set[bytes] = set()

    def check(self, name: str, is_folder: bool = False) -> str:
        """The name, relative and with single `/` between its parts.

        Args:
            name: As the archive or store gives it.
            is_folder: Whether it names a folder; folders may be repeated, files may not.

        Raises:
            ValueError: with the reason, as the rest of a sentence that begins with the name, where it leads out of the
                folder, cannot be a file's name, or is that of an earlier file.
        """
        if ".." in re.split(r"[/\\]", name):
            raise ValueError("leads out of the folder with '..'")
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            raise ValueError("is an absolute path")
        relative = "/".join(part for part in name.split("/") if part not in ("", "."))
        if "\0" in name or not (relative or is_folder):
            raise ValueError("has no usable name")
        if relative.count("/") > _MAX_DEPTH:
            raise ValueError(f"is nested more than {_MAX_DEPTH} folders deep")
        try:
            longest_bytes = max(len(os.fsencode(part)) for part in relative.split("/"))
        except UnicodeEncodeError:
            raise ValueError("has no usable name") from None
        if longest_bytes > _MAX_PART_BYTES:
            raise ValueError("has a name that cannot be a file here (File name too long)")
        if not is_folder:
            same = unicodedata.normalize("NFC", unicodedata.normalize("NFC", relative).casefold())
            key = hashlib.blake2b(same.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if key in self._seen:
                raise ValueError("has the same name as another one, ignoring case")
            self._seen.add(key)
        return relative
