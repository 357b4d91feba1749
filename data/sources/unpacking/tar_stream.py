"""A tar, plain or packed by gzip, as `tarfile` may see it: counted, never backwards, never very much at once."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

CHUNK_BYTES = 2**20
# The most that tarfile may ask for at once; it reads long names and PAX headers whole.
_MAX_READ_BYTES = 4 * 2**20


class ForwardStream:
    """The unpacked bytes of a tar; `last_read` holds what was read last."""

    def __init__(self, source: IO[bytes], count_bytes: Callable[[int], None]) -> None:
        """Read from the beginning.

        Args:
            source: The unpacked bytes.
            count_bytes: Told how many were read; may raise.
        """
        self._source = source
        self._count_bytes = count_bytes
        self._position = 0
        self.last_read = b""

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def seek(self, position: int) -> int:
        """Read on to a position; raises `tarfile.ReadError` for one that was passed."""
        if position < self._position:
            raise tarfile.ReadError("a header points backwards")
        for _ in self.chunks(position - self._position):
            pass
        return self._position

    def read(self, num_bytes: int) -> bytes:
        """The next bytes; raises `tarfile.ReadError` for too many at once."""
        if not 0 <= num_bytes <= _MAX_READ_BYTES:
            raise tarfile.ReadError(f"a header says it has {num_bytes} bytes")
        self.last_read = self._source.read(num_bytes)
        self._position += len(self.last_read)
        self._count_bytes(len(self.last_read))
        return self.last_read

    def chunks(self, num_bytes: int) -> Iterator[bytes]:
        """The next bytes, fewer where the stream ends."""
        left_bytes = num_bytes
        while left_bytes > 0 and (chunk := self.read(min(left_bytes, CHUNK_BYTES))):
            left_bytes -= len(chunk)
            yield chunk


@contextmanager
def tar_stream(archive: Path, count_bytes: Callable[[int], None]) -> Iterator[ForwardStream]:
    """The bytes of a tar, by its first bytes unpacked by gzip or not.

    Args:
        archive: The file.
        count_bytes: As for `ForwardStream`.
    """
    with archive.open("rb") as raw:
        is_gzip = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        yield ForwardStream(cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_gzip else raw, count_bytes)


def open_tar(stream: ForwardStream) -> tarfile.TarFile:
    """The tar of a stream, to be read entry by entry with `next`."""
    return tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:")
