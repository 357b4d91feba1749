"""Crash recovery: a decoder that dies while it works on a part of a run takes one row with it, and not the run.

Decoders are C code in this process: where one crashes, the process is gone. The files that it was decoding are the
suspects of whoever does the part next, who decodes each in a process of its own (`decoder_process.py`); one whose
process dies is quarantined as `decoder_crashed`. Suspects are never decoded in the process of the run again, so that
after each crash there are fewer files left that can cause one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from darkroom.data.images.crash_marker import marked
from darkroom.data.images.decode import Decoded, decode_with_header
from darkroom.data.images.decoder_process import decode_alone
from darkroom.data.images.pixels.decode_policy import DecodePolicy

logger = logging.getLogger(__name__)

_NUM_NAMED = 3

# Path, bytes and policy to pixels; raises ImageError.
Decode = Callable[[str | None, bytes, DecodePolicy], Decoded]


def decode_unwatched(path: str | None, data: bytes, policy: DecodePolicy) -> Decoded:
    """`decode_with_header` of a file that belongs to no part.

    Args:
        path: Not used.
        data: The file's bytes.
        policy: How it is decoded.
    """
    return decode_with_header(data, policy)


@contextmanager
def watched_decode(folder: Path, part: int, paths: Sequence[str]) -> Iterator[Decode]:
    """`decode_with_header` for the files of a part; it also raises ImageError `decoder_crashed`.

    At the end of the part warnings count the files whose decoder complained, and those of which only the first of
    several frames or pages is used.

    Args:
        folder: Of the work in progress.
        part: Its number.
        paths: Of its files, as they are named when decoded.
    """
    doubtful: list[str] = []
    several: list[str] = []
    index_of = {path: index for index, path in enumerate(paths)}
    with marked(folder, part, len(paths)) as in_flight:

        def decode(path: str | None, data: bytes, policy: DecodePolicy) -> Decoded:
            index = index_of[str(path)]
            if index in in_flight.suspects:
                decoded = decode_alone(data, policy)
            else:
                with in_flight.flying(index):
                    decoded = decode_with_header(data, policy)
            if decoded.num_complaints:
                doubtful.append(str(path))
            if decoded.first_of_several:
                several.append(str(path))
            return decoded

        yield decode
    if doubtful:
        logger.warning("Damaged, but decoded as far as they could be: %d images, such as %s", *_counted(doubtful))
    if several:
        logger.warning("Of several frames or pages, the first is used: %d images, such as %s", *_counted(several))


def _counted(paths: Sequence[str]) -> tuple[int, str]:
    """How many, and the first few."""
    return len(paths), ", ".join(sorted(paths)[:_NUM_NAMED]) + (" …" if len(paths) > _NUM_NAMED else "")
