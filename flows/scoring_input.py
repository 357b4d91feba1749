"""The folder, files or list to be scored, as a command line, a program or a deployment names them: checked first."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from darkroom.data.errors import InputError, SourceError
from darkroom.data.stores.folders import Images, image_folder
from darkroom.data.stores.named_files import NamedFiles, find_listed, find_named, read_list
from darkroom.data.stores.storage import Url, list_objects, place_from

STANDARD_INPUT = "-"
# Prefect keeps half a megabyte of parameters: more files than this go into a list.
_MAX_NAMED = 1000


@dataclass(frozen=True)
class Given:
    """What a command line gives.

    Attributes:
        images: What is to be scored.
        folder: The flow's parameter of that name.
        files: The flow's parameter of that name.
    """

    images: Images
    folder: str | list[str] | None
    files: str | None


def images_given(folder: str | Sequence[str] | None, files: str | None = None) -> Images:
    """What is to be scored, looked at before anything is built or loaded for it.

    Args:
        folder: A folder or its URL, an image file, or several; None where there is a list.
        files: A text file of paths, one per line, in place of them.

    Raises:
        InputError: where it is not there, is no such thing, or nothing or both are given.
    """
    given = [folder] if isinstance(folder, str) else list(folder or ())
    if bool(given) == (files is not None):
        both = "A list given with --files takes the place of a folder and of files. Give one of them."
        raise InputError(both if given else "Nothing to score was given. Give a folder, image files, or --files LIST.")
    if files is not None:
        return find_listed(read_list(Path(files)), files)
    if len(given) > 1:
        return find_named(given)
    place = place_from(given[0])
    if isinstance(place, Path) and not place.is_dir():
        return find_named([str(place)])
    image_folder(place).check()
    return place


def one_folder(folder: str | Sequence[str] | None) -> str:
    """The inbox, which is one folder.

    Args:
        folder: As it was given.

    Raises:
        InputError: where it is none, several, or a file.
    """
    words = [folder] if isinstance(folder, str) else list(folder or ())
    if len(words) != 1 or Path(words[0]).is_file():
        raise InputError("--new scores what is new in a folder. Give one folder, or score files without --new.")
    return words[0]


@contextmanager
def given(folder: list[str] | None, files: str | None) -> Iterator[Given]:
    """What a command line gives, and within the block the parameters by which the flow finds the same.

    What came from standard input, and very many files, are written into a list for as long.

    Args:
        folder: The arguments.
        files: The list; `-` for standard input.

    Raises:
        InputError: as `images_given` raises it, or where nothing is at a URL.
    """
    words = folder or []
    if files == STANDARD_INPUT and not words:
        text = sys.stdin.buffer.read()
        images: Images = find_listed(text, "standard input").called_by_content()
    else:
        text = "\n".join(words).encode(errors="replace")
        images = images_given(words, files)
    if isinstance(images, Url) and next(list_objects(images), None) is None:
        raise SourceError(f"There is nothing at {images}. Check the URL.")
    if not isinstance(images, NamedFiles) or not (files == STANDARD_INPUT or _are_many(words)):
        yield Given(images, words[0] if len(words) == 1 else words or None, files)
        return
    with tempfile.TemporaryDirectory(prefix="darkroom-") as place:
        spooled = Path(place) / f"{images.name}.txt"  # after which the flow calls the table
        spooled.write_bytes(text)
        yield Given(images, None, str(spooled))


def _are_many(words: Sequence[str]) -> bool:
    """Whether files are too many for parameters, and a list can hold them."""
    return len(words) > _MAX_NAMED and not any("\n" in word for word in words)
