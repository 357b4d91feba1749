"""Which listed image a row of a table means, however its path is written."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import unquote

from darkroom.data.stores.listing import FileEntry

_SAMPLE = 50


class Names:
    """Finds the image that a row means.

    In this order: by its path, the end of its path, either without the suffix; then the same in any case and Unicode
    form; then, for a path of another machine, the one image of that name whose path ends most like it.
    """

    def __init__(self, images: Sequence[FileEntry]) -> None:
        """Index the images of a source."""
        self._paths = {entry.path for entry in images}
        self._of_stem: dict[str, list[str]] = defaultdict(list)
        self._of_folded: dict[str, list[str]] = defaultdict(list)
        for entry in images:
            stem = _stem(entry.path.rpartition("/")[2])
            self._of_stem[stem].append(entry.path)
            self._of_folded[_folded(stem)].append(entry.path)

    def find(self, written: str, folder: str, table_name: str) -> list[str]:
        """The images that a path can mean: none, one, or several that nothing tells apart.

        What Label Studio puts in front of a file that is uploaded is left out where only the rest is here.

        Where the training and the test images share a name, as IDs counted from 1 in both, the table's own name
        decides: `trainLabels.csv`, `instances_val2017.json`.

        Args:
            written: As the table has it.
            folder: Where the table lies.
            table_name: The table's name.
        """
        if not written:
            return []
        if not self._may_be_here(written):
            before = _uploaded_name(written) if "-" in written else ""
            return self.find(before, folder, table_name) if before else []
        for key in _spellings(written):
            for whole in (key, f"{folder}/{key}"):
                if whole in self._paths:
                    return [whole]
            name = key.rpartition("/")[2]
            stems = dict.fromkeys((name, _stem(name)))
            found = [path for stem in stems for path in self._of_stem.get(stem, ()) if _ends_with(path, key)]
            if not found:
                folded = _folded(key)
                found = list(
                    dict.fromkeys(
                        path
                        for stem in stems
                        for path in self._of_folded.get(_folded(stem), ())
                        if _ends_with(_folded(path), folded) or _differs_in_suffix(_folded(path), folded)
                    )
                )
            if len(found) > 1 and folder:
                found = [path for path in found if path.startswith(f"{folder}/")] or found
            if found:
                return _of_same_split(found, table_name) if len(found) > 1 else found
        return self._most_alike(written) or (self._most_alike(unquote(written)) if "%" in written else [])

    def is_path(self, written: str) -> bool:
        """Whether a text names an image, or several."""
        return bool(self.find(written, "", ""))

    def name_some(self, written: Iterable[str]) -> bool:
        """Whether at least half of the first fifty texts name images."""
        first = list(islice(written, _SAMPLE))
        return 0 < len(first) <= 2 * self.count_any(first, "", "")

    def count_any(self, written: Sequence[str], folder: str, table_name: str) -> int:
        """How many of the paths name an image, or several.

        Args:
            written: Paths as in the table.
            folder: The table's folder in the source.
            table_name: The table's file name.
        """
        return sum(bool(self.find(each, folder, table_name)) for each in written)

    def _may_be_here(self, written: str) -> bool:
        """Whether an image has the name that a path ends in: told fast, for tables with millions of other rows."""
        if "\\" in written or "%" in written or written[-1] in "/.":
            return True
        name = written.rpartition("/")[2]
        return _folded(_stem(name)) in self._of_folded or _folded(name) in self._of_folded

    def _most_alike(self, written: str) -> list[str]:
        """For a path with folders that are not here: the images of that name that share most of its end."""
        key = _folded(str(PurePosixPath(written.replace("\\", "/"))))
        if "/" not in key:
            return []
        name = key.rpartition("/")[2]
        best: list[str] = []
        longest = 0
        for path in dict.fromkeys(p for stem in (name, _stem(name)) for p in self._of_folded.get(stem, ())):
            shared = _num_shared(_folded(path).split("/")[:-1], key.split("/")[:-1])
            if not best or shared > longest:
                best, longest = [path], shared
            elif shared == longest:
                best.append(path)
        return best


def _uploaded_name(written: str) -> str:
    """The name that a file had before it was uploaded to Label Studio, which puts eight hex digits in front; or ""."""
    found = re.fullmatch(r"(?:.*/)?[0-9a-f]{8}-(.+)", written)
    return found[1] if found else ""


def _num_shared(path: Sequence[str], key: Sequence[str]) -> int:
    """How many of the last folders are the same."""
    number = 0
    while number < min(len(path), len(key)) and path[-1 - number] == key[-1 - number]:
        number += 1
    return number


def _folded(text: str) -> str:
    """In one case and one Unicode form: macOS writes accents apart."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


def _ends_with(path: str, key: str) -> bool:
    return f"/{path}".endswith(f"/{key}") or f"/{_stem(path)}".endswith(f"/{key}")


def _differs_in_suffix(path: str, key: str) -> bool:
    """Whether only `.png` in the place of `.jpg` keeps a path from ending in a key; both have a suffix."""
    return re.search(r"\.[a-z]{3,5}$", key) is not None and f"/{_stem(path)}".endswith(f"/{_stem(key)}")


def _spellings(written: str) -> Iterator[str]:
    """A path as written; with its backslashes, double slashes and dots made plain; and of an address, `a%20b.jpg`."""
    yield written
    yield str(PurePosixPath(written.replace("\\", "/")))
    if "%" in written:
        yield str(PurePosixPath(unquote(written)))


def _stem(name: str) -> str:
    """Without the suffix. Not pathlib's: this runs several times for each of a million rows."""
    return name.rpartition(".")[0] or name


def _of_same_split(paths: list[str], table_name: str) -> list[str]:
    """Those in the folder that is named like the table, where only one is."""
    word = re.search(r"(?<![a-z])(?:train|val|test)", table_name.lower())
    if word is None:
        return paths
    inside = [path for path in paths if any(part.lower().startswith(word[0]) for part in path.split("/")[:-1])]
    return inside if len(inside) == 1 else paths
