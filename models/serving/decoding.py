"""Decoding for a service: a file that takes its process down is answered as `decoder_crashed` when it comes again.

Decoders are C code in this process. Where one crashes, the process that watches over the service starts it again
(`flows/child_process.py`); the files that were being decoded are known by their hashes, and are from then on decoded in
a process of their own.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.data.images.crash_marker import in_hands
from darkroom.data.images.decode import Decoded, decode_with_header
from darkroom.data.images.decoder_process import decode_alone
from darkroom.data.images.pixels.decode_policy import DecodePolicy

_SUSPECTS = "suspects"


class CarefulDecoder:
    """`decode_with_header`, but for files that a process had in its hands when it died.

    Args:
        folder: Exists, and outlives this process; holds an empty file for each image that is being decoded.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        suspects = folder / _SUSPECTS
        suspects.mkdir(exist_ok=True)
        for left in folder.glob("*-*"):
            (suspects / left.name.partition("-")[0]).touch()
            left.unlink()
        self.suspects = frozenset(path.name for path in suspects.iterdir())

    def __call__(self, path: str | None, data: bytes, policy: DecodePolicy) -> Decoded:
        """Decode a file.

        Args:
            path: Not used.
            data: The file's bytes.
            policy: How it is decoded.

        Raises:
            ImageError: as `decode_with_header` does; `decoder_crashed` where the file takes its process down.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in self.suspects:
            return decode_alone(data, policy)
        with self._marked(sha256), in_hands():
            return decode_with_header(data, policy)

    @contextmanager
    def _marked(self, sha256: str) -> Iterator[None]:
        marker = self._folder / f"{sha256}-{threading.get_ident()}"
        marker.touch()
        try:
            yield
        finally:
            marker.unlink(missing_ok=True)
