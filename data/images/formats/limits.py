"""What makes a file costly to decode whatever the size of its image, found before any of it is decoded.

Pillow reads headers in Python, block by block and padding byte by byte, while no other thread runs: 10 MB of fill bytes
take it 5 seconds. So the blocks of a file are counted first, in the way in which Pillow would read them, with one step
for each block and none for its bytes. Counts are limits, not clocks: the same bytes end the same way on every machine.
What is allowed is a hundred times what cameras and editors write.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from darkroom.data.errors import ImageError

if TYPE_CHECKING:
    from darkroom.data.images.pixels.decode_policy import DecodePolicy

# Segments of a JPEG, chunks of a PNG without pixels, sub-blocks of a GIF, tags of a TIFF.
_MAX_BLOCKS = 20_000
# Bytes between them that mean nothing, and the header of a PPM.
_MAX_PADDING = 200_000
# Chunks of 8 KB, which libpng writes, of the largest file that is read by default.
_MAX_PIXEL_CHUNKS = 50_000
# Pillow appends each EXIF segment of 64 KB to those before it.
_MAX_EXIF_SEGMENTS = 64
MAX_EXIF_BYTES = _MAX_EXIF_SEGMENTS * 2**16
# Numbers in a tag of a TIFF, each a Python object: a strip for each row, or tiles of 16 x 16 in 120 megapixels.
_MAX_TAG_VALUES = 1_000_000
# Each scan of a progressive JPEG walks the whole image: 0.7 ns for each pixel of each. Encoders write about ten.
_MAX_SCANS = 100
_MAX_SCANS_ALWAYS = 16
_MAX_SCANNED_PIXELS = 2_000_000_000
# Pillow decodes these in Python: 1 second for a megapixel.
_SLOW_DECODERS = frozenset({"ppm", "ppm_plain", "bmp_rle"})
_MAX_SLOW_PIXELS = 4_000_000
# Of a PPM as text: each costs a copy of the megabyte that it stands in.
_MAX_COMMENTS = 2_000
# Run lengths of a BMP that add no pixel are as slow.
_MAX_RLE_BYTES_PER_PIXEL = 4
# A tile of a TIFF may reach beyond the image, but costs as much as if it did not.
_MAX_COVERED = 2

_START_OF_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\0\x01\xff\xd0-\xd8]")
_JPEG_PADDING = re.compile(rb"(?:[^\xff]++|\xff(?=\xff)|\xff\0)*+")
# Markers without a segment behind them, as Pillow has it.
_BARE_MARKERS = frozenset({0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
_GIF_PADDING = re.compile(rb"[^!,;]*+")
_PPM_TOKEN = rb"(?:[\t-\r ]|#[^\r\n]*+(?:[\r\n]|\Z))*+[-+.\w]*+"
_PPM_HEADER = re.compile(rb"P(?:[14]" + _PPM_TOKEN * 2 + rb"|[^14][A-Z]*+" + _PPM_TOKEN * 3 + rb")")
_TILE_WIDTH, _TILE_LENGTH = 322, 323
# Directories of a TIFF that Pillow reads besides the first: EXIF, GPS, interoperability.
_SUB_DIRECTORIES = frozenset({34665, 34853, 40965})
_NUMBERS = frozenset({3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16, 17, 18})
_SHORT, _LONG = 3, 4


def check_bytes(data: bytes) -> None:
    """Refuse a file whose header alone costs too much to read; what is no image, or damaged, passes.

    Args:
        data: The whole file, bytes.

    Raises:
        ImageError: `too_costly`.
    """
    for signature, check in _CHECKS:
        if data.startswith(signature):
            check(data)
            return


def check_cost(data: bytes, image: Image.Image, policy: DecodePolicy) -> None:
    """Refuse what would take too much memory or time, before a pixel of it is decoded.

    Args:
        data: The whole file, bytes.
        image: The same, opened by Pillow and not loaded.
        policy: The limits on pixels and sides.

    Raises:
        ImageError: `too_large` beyond a limit of the policy, `too_costly`, `corrupt` or `truncated`.
    """
    width, height = image.size
    num_pixels = width * height
    check_size(width, height, policy)
    if image.format in ("JPEG", "MPO"):
        _check_scans(data, num_pixels)
    if isinstance(image, TiffImageFile):
        _check_tiles(image, policy)
    decoders = {tile[0] for tile in image.tile} if isinstance(image, ImageFile.ImageFile) else set()
    if decoders & _SLOW_DECODERS and num_pixels > _MAX_SLOW_PIXELS:
        raise ImageError("too_costly", f"{width} x {height} pixels in a form that is slow to decode")
    if "bmp_rle" in decoders and len(data) > _MAX_RLE_BYTES_PER_PIXEL * num_pixels + _MAX_PADDING:
        raise ImageError("too_costly", f"{len(data)} bytes of run lengths for {width} x {height} pixels")


def check_size(width: int, height: int, policy: DecodePolicy) -> None:
    """Refuse an image beyond the limits of the policy.

    Args:
        width: In pixels.
        height: In pixels.
        policy: The limits on pixels and sides.

    Raises:
        ImageError: `too_large`.
    """
    if width * height > policy.max_pixels:
        raise ImageError("too_large", f"{width} x {height} pixels, the limit is {policy.max_pixels} in all")
    if max(width, height) > policy.max_side:
        raise ImageError("too_large", f"{width} x {height} pixels, the limit is {policy.max_side} for a side")


class _Count:
    """Blocks and padding so far; raises ImageError `too_costly` where they are too many."""

    def __init__(self) -> None:
        self._left = {"blocks": _MAX_BLOCKS, "bytes of padding": _MAX_PADDING, "chunks of pixels": _MAX_PIXEL_CHUNKS}

    def add(self, what: str, number: int = 1) -> None:
        self._left[what] -= number
        if self._left[what] < 0:
            raise ImageError("too_costly", f"too many {what} in the header")


def _check_jpeg(data: bytes) -> None:
    """Segments up to the first scan, as `JpegImageFile._open` reads them."""
    count, place, num_exif = _Count(), 2, 0
    while place + 1 < len(data):
        end = place
        if data[place] != 0xFF or data[place + 1] in (0, 0xFF):
            end = _JPEG_PADDING.match(data, place, place + _MAX_PADDING + 2).end()  # type: ignore[union-attr]
            count.add("bytes of padding", end - place)
        marker = data[end + 1] if end + 1 < len(data) else 0
        if marker in (0, 0xDA) or marker < 0xC0:
            return
        count.add("blocks")
        place = end + 2
        if marker in _BARE_MARKERS:
            continue
        num_bytes = max(2, int.from_bytes(data[place : place + 2], "big"))
        if marker == 0xED:
            count.add("blocks", data.count(b"8BIM", place, place + num_bytes))
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", place + 2):
            num_exif += 1
            if num_exif > _MAX_EXIF_SEGMENTS:
                raise ImageError("too_costly", f"more than {_MAX_EXIF_SEGMENTS} segments of EXIF")
        place += num_bytes


def _check_png(data: bytes) -> None:
    """Chunks, as `PngImageFile` reads them up to the end."""
    count, place, kind = _Count(), 8, b""
    while kind != b"IEND" and place + 8 <= len(data):
        num_bytes, kind = struct.unpack_from(">I4s", data, place)
        count.add("chunks of pixels" if kind in (b"IDAT", b"fdAT") else "blocks")
        if kind == b"eXIf" and num_bytes > MAX_EXIF_BYTES:
            raise ImageError("too_costly", f"{num_bytes} bytes of EXIF")
        place += 12 + num_bytes


def _check_gif(data: bytes) -> None:
    """Blocks up to the first frame, as `GifImageFile._seek` reads them."""
    flags = data[10] if len(data) > 10 else 0
    count, place = _Count(), 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    while place < len(data):
        end = _GIF_PADDING.match(data, place, place + _MAX_PADDING + 1).end()  # type: ignore[union-attr]
        count.add("bytes of padding", end - place)
        if data[end : end + 1] != b"!":
            return
        place = end + 2
        num_bytes = -1
        while num_bytes and place < len(data):
            count.add("blocks")
            num_bytes = data[place]
            place += 1 + num_bytes


def _check_ppm(data: bytes) -> None:
    """Spaces and comments in the header, which `PpmImageFile` reads byte by byte."""
    found = _PPM_HEADER.match(data, 0, _MAX_PADDING + 1)
    if found and found.end() > _MAX_PADDING:
        raise ImageError("too_costly", f"the header takes more than {_MAX_PADDING} bytes")
    if data[1] in b"123" and data.count(b"#") > _MAX_COMMENTS:
        raise ImageError("too_costly", f"more than {_MAX_COMMENTS} comments")


def _check_tiff(data: bytes) -> None:
    """Tags of the directories that `TiffImageFile` reads, and how many numbers they hold."""
    order = "<" if data.startswith(b"II") else ">"
    big = 43 in data[2:4]
    count = _Count()
    head = struct.Struct(order + ("Q" if big else "I"))
    if len(data) < 16:
        return
    waiting, seen = [head.unpack_from(data, 8 if big else 4)[0]], set()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        for tag, kind, number, value in _tags(data, place, order, big, count):
            if kind in _NUMBERS and number > _MAX_TAG_VALUES:
                raise ImageError("too_costly", f"{number} numbers in tag {tag}")
            if tag in _SUB_DIRECTORIES and number == 1:
                waiting.append(value)


def _tags(data: bytes, place: int, order: str, big: bool, count: _Count) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, number of values and value or offset of each entry of the directory at `place`."""
    length, entry = (8, struct.Struct(order + "HHQQ")) if big else (2, struct.Struct(order + "HHII"))
    if place + length > len(data):
        return
    num_tags = int.from_bytes(data[place : place + length], "little" if order == "<" else "big")
    first = place + length
    num_tags = min(num_tags, (len(data) - first) // entry.size)
    count.add("blocks", num_tags)
    yield from entry.iter_unpack(data[first : first + num_tags * entry.size])


def _check_scans(data: bytes, num_pixels: int) -> None:
    """Count the scans of a JPEG exactly where there may be too many: pixels hide no marker, but segments and what is
    behind the image do."""
    most = max(_MAX_SCANS_ALWAYS, min(_MAX_SCANS, _MAX_SCANNED_PIXELS // max(1, num_pixels)))
    if data.count(_START_OF_SCAN) <= most:
        return
    num_scans, num_markers, place = 0, 0, 2
    while (found := _MARKER.search(data, place)) and found[0] != b"\xff\xd9":
        num_scans += found[0] == _START_OF_SCAN
        num_markers += 1
        if num_scans > most or num_markers > _MAX_BLOCKS:
            raise ImageError("too_costly", f"more than {most} scans, or {_MAX_BLOCKS} segments")
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")


def _check_tiles(image: TiffImageFile, policy: DecodePolicy) -> None:
    tile = [image.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
    if not all(isinstance(side, int) for side in tile):
        raise ImageError("corrupt", f"tiles of {tile[0]} x {tile[1]} pixels")
    if tile[0] * tile[1] > policy.max_pixels:
        raise ImageError("too_large", f"tiles of {tile[0]} x {tile[1]} pixels")
    width, height = image.size
    if all(tile):
        covered = -(-width // tile[0]) * tile[0] * (-(-height // tile[1]) * tile[1])
        if covered > _MAX_COVERED * policy.max_pixels:
            raise ImageError("too_costly", f"tiles of {tile[0]} x {tile[1]} pixels, {covered} in all")
    strips = [part.extents or (0, 0, 0, 0) for part in image.tile]
    if sum((right - left) * (bottom - top) for left, top, right, bottom in strips) < width * height:
        raise ImageError("truncated", "strips are missing")  # Pillow takes them as black


_CHECKS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], None]], ...] = (
    (b"\xff\xd8\xff", _check_jpeg),
    (b"\x89PNG\r\n\x1a\n", _check_png),
    ((b"GIF87a", b"GIF89a"), _check_gif),
    ((b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+"), _check_tiff),
    (tuple(b"P" + bytes([kind]) for kind in b"0123456fy"), _check_ppm),
)
