"""Hostile and broken input, and what must become of each file. `python -m tests.corpus FOLDER` writes it.

What a file must decode to is known from the picture that it was made from, never from decoding it: a case is exact
(tolerance 0) unless its format loses something. Pictures are smooth, so that lossy formats lose little, each another
one, and 48 x 32 pixels, the size of `POLICY`, so that nothing is resized.

Two reasons have no file here: `decoder_crashed`, since no file is known that kills a decoder (`tests/crashing.py` plays
one), and `needs_extra`, since tests run where the packages are installed (see
`tests/data/images/formats/test_optional_formats.py`).
"""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from darkroom.data.images.pixels.decode_policy import DecodePolicy

HEIGHT, WIDTH = 32, 48
POLICY = DecodePolicy(image_size=(HEIGHT, WIDTH))
LABELS = ("cats", "dogs")
Pixels = NDArray[np.uint8]

# Upright picture to what a camera stores: the inverse of what the EXIF orientation asks for.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}
JPEG: dict[str, Any] = {"quality": 97, "subsampling": 0}
JPEG_TOLERANCE = 8


@dataclass(frozen=True)
class Case:
    """One file of the corpus.

    Attributes:
        name: Path inside its class folder, as the operating system knows it.
        how: How it is made.
        reason: The reason code that it must be quarantined with; None where it must be decoded.
        pixels: `uint8[32, 48, 3]` that it must decode to under `POLICY`.
        tolerance: Largest difference of a pixel's value from `pixels`.
        stored: (width, height) as stored in the file.
        content: The file's bytes.
        write: Makes what is no plain file, at the path given; in place of `content`.
        then: Done to the path between listing and reading.
    """

    name: str
    how: str
    reason: str | None
    pixels: Pixels | None = field(default=None, repr=False)
    tolerance: int = 0
    stored: tuple[int, int] = (WIDTH, HEIGHT)
    content: bytes = field(default=b"", repr=False)
    write: Callable[[Path], None] | None = None
    then: Callable[[Path], None] | None = None


def picture(name: str, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """A smooth picture of its own for each name."""
    coarse = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: Image.Image | NDArray[Any], kind: str, **options: Any) -> bytes:
    """An image file written by Pillow."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(np.ascontiguousarray(image))).save(
        stream, kind, **options
    )
    return stream.getvalue()


def grey(values: NDArray[Any]) -> Pixels:
    """`uint8[H, W]` as RGB."""
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def noise(num_bytes: int) -> bytes:
    return np.random.default_rng(num_bytes).bytes(num_bytes)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its CRC."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG from its rows (each beginning with its filter byte); `extra` chunks stand before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def filtered(values: NDArray[Any]) -> bytes:
    """Rows of a PNG, each with filter 0."""
    return b"".join(b"\0" + row.tobytes() for row in values)


def tiff(tags: dict[int, tuple[str, int]], content: bytes) -> bytes:
    """A little-endian TIFF of one directory; `content` follows it, and tag 273 or 324 is set to its place."""
    place = 8 + 2 + 12 * len(tags) + 4
    directory = b""
    for tag, (kind, value) in sorted(tags.items()):
        value = place if tag in (273, 324) else value
        directory += struct.pack("<HHI", tag, {"H": 3, "I": 4}[kind], 1) + struct.pack("<" + kind, value).ljust(
            4, b"\0"
        )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + content


def dicom(values: NDArray[Any] | None, **elements: Any) -> bytes:
    """A DICOM file of `uint16[H, W]` or `uint8[H, W, 3]`, or of no pixels; `elements` by their keywords."""
    found = FileDataset("", {}, preamble=bytes(128), file_meta=FileMetaDataset())
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    if values is not None:
        bits = 8 * values.itemsize
        found.Rows, found.Columns = values.shape[:2]
        found.SamplesPerPixel = 1 if values.ndim == 2 else 3
        found.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
        found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = bits, bits, bits - 1, 0
        found.PlanarConfiguration = 0
        found.add_new("PixelData", "OW" if bits > 8 else "OB", values.tobytes())
    for name, value in elements.items():
        setattr(found, name, value)
    stream = io.BytesIO()
    found.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def dng(height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """A camera's RAW: a mosaic of one orange, with what DNG 1.4 asks for."""
    mosaic = np.tile(np.array([[60_000, 30_000], [30_000, 5_000]], np.uint16), (height // 2, width // 2)).tobytes()

    def numbers(kind: str, *values: int) -> bytes:
        return struct.pack(f"<{len(values)}{kind}", *values)

    matrix = (32400, -15400, -5000, -9700, 18800, 400, 600, -2000, 10600)
    tags: dict[int, tuple[int, int, bytes]] = {
        number: (4, 1, numbers("I", value))
        for number, value in {254: 0, 256: width, 257: height, 273: 0, 278: height, 279: len(mosaic)}.items()
    }
    for number, value in {258: 16, 259: 1, 262: 32803, 274: 1, 277: 1, 50778: 21}.items():
        tags[number] = (3, 1, numbers("H", value))
    tags |= dict.fromkeys((271, 272, 50708), (2, 5, b"Test\x00"))
    tags |= {33421: (3, 2, numbers("H", 2, 2)), 33422: (1, 4, bytes([0, 1, 1, 2])), 50706: (1, 4, bytes([1, 4, 0, 0]))}
    tags[50721] = (10, 9, b"".join(numbers("i", each, 10_000) for each in matrix))
    tags[50728] = (5, 3, numbers("I", 1, 1, 1, 1, 1, 1))
    start = 8 + 2 + 12 * len(tags) + 4
    long_values = b"".join(raw + bytes(len(raw) % 2) for _, (_, _, raw) in sorted(tags.items()) if len(raw) > 4)
    directory, place = b"", start
    for number, (kind, count, raw) in sorted(tags.items()):
        stored = raw.ljust(4, b"\0")
        if number == 273:
            stored = numbers("I", start + len(long_values))
        elif len(raw) > 4:
            stored, place = numbers("I", place), place + len(raw) + len(raw) % 2
        directory += struct.pack("<HHI", number, kind, count) + stored
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + bytes(4) + long_values + mosaic


def patched(content: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    """`content` with `new` in place, `offset` bytes after the start of the first `mark`."""
    place = content.index(mark) + offset
    return content[:place] + new + content[place + len(new) :]


def jpeg_resized(content: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    return patched(content, b"\xff\xc0", 5, struct.pack(">HH", height, width))


def with_segment(content: bytes, marker: int, payload: bytes) -> bytes:
    """A JPEG with one more segment at its start."""
    return content[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload + content[2:]


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def num_scans_jpeg(num_scans: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A progressive JPEG whose last scan is repeated: each costs few bytes and walks the whole image."""
    whole = encoded(Image.new("L", (width, height), 128), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * num_scans + b"\xff\xd9"


def tile_bomb(side: int = 12_000) -> bytes:
    """A TIFF of 10 x 10 pixels in one tile of 144 megapixels."""
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(bytes(side * side // 100)) for _ in range(100)) + packer.flush()
    tags = {256: ("I", 10), 257: ("I", 10), 258: ("H", 8), 259: ("H", 8), 262: ("H", 1), 277: ("H", 1)}
    return tiff(tags | {322: ("I", side), 323: ("I", side), 324: ("I", 0), 325: ("I", len(content))}, content)


def bomb() -> bytes:
    """A PNG of 200 megapixels in 24 KB."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(2501 * 100)) for _ in range(100)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def thin(width: int = 20_000_000) -> bytes:
    """A grey PNG one pixel high."""
    packer = zlib.compressobj(9)
    row = packer.compress(b"\0") + b"".join(packer.compress(bytes(width // 20)) for _ in range(20)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def run_lengths(num_escapes: int, side: int = 20) -> bytes:
    """A BMP of 8 bits with run lengths, of which none makes a pixel."""
    place = 14 + 40 + 1024
    header = b"BM" + struct.pack("<IHHI", 0, 0, 0, place)
    header += struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    return header + bytes(1024) + b"\0\2\0\0" * num_escapes + b"\0\1"


def tall(height: int = 20_000) -> tuple[bytes, Pixels]:
    """A PNG one pixel wide, red above and blue below, and what it is when stretched to `POLICY`'s size."""
    column = np.zeros((height, 1, 3), np.uint8)
    column[: height // 2, :, 0] = column[height // 2 :, :, 2] = 255
    small = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    small[: HEIGHT // 2, :, 0] = small[HEIGHT // 2 :, :, 2] = 255
    # The bilinear filter is a triangle two rows wide: an eighth of it lies beyond the border.
    small[HEIGHT // 2 - 1], small[HEIGHT // 2] = (223, 0, 32), (32, 0, 223)
    return encoded(column, "PNG"), small


def _decoded(name: str, how: str, content: bytes, pixels: Pixels, tolerance: int = 0, **rest: Any) -> Case:
    return Case(name, how, None, pixels, tolerance, content=content, **rest)


def _rgb(name: str, how: str, kind: str, tolerance: int = 0, **options: Any) -> Case:
    """The picture of that name, written by Pillow."""
    return _decoded(name, how, encoded(picture(name), kind, **options), picture(name), tolerance)


def _formats() -> Iterator[Case]:
    yield _rgb("baseline.jpg", "JPEG", "JPEG", JPEG_TOLERANCE, **JPEG)
    yield _rgb("progressive.jpg", "progressive JPEG", "JPEG", JPEG_TOLERANCE, progressive=True, **JPEG)
    yield _rgb("arithmetic-named.jpeg.PNG", "JPEG named .PNG", "JPEG", JPEG_TOLERANCE, **JPEG)
    yield _rgb("rgb.jpg", "JPEG that stores RGB, not YCbCr", "JPEG", JPEG_TOLERANCE, keep_rgb=True, **JPEG)
    yield _rgb("plain.png", "PNG", "PNG")
    yield _rgb("really-a-png.jpg", "PNG named .jpg", "PNG")
    yield _rgb("no-ending", "PNG without an ending", "PNG")
    yield _rgb("UPPER.BMP", "BMP of 24 bits", "BMP")
    yield _rgb("lossless.webp", "WebP without loss", "WEBP", lossless=True)
    yield _rgb("lossy.webp", "WebP with loss", "WEBP", 24, quality=98)
    yield _rgb("photo.avif", "AVIF", "AVIF", 5, quality=100, subsampling="4:4:4")
    heic = (Path(__file__).parent / "data" / "images" / "phone.heic").read_bytes()  # written by libheif 1.23 and x265
    yield _decoded("phone.heic", "HEIC", heic, picture("phone.heic"), 5)
    yield _rgb("raw.tif", "TIFF without compression", "TIFF")
    yield _rgb("deflate.tif", "TIFF with Deflate", "TIFF", compression="tiff_adobe_deflate")
    yield _rgb("lzw.tiff", "TIFF with LZW", "TIFF", compression="tiff_lzw")
    yield _rgb("jpeg-inside.tif", "TIFF with JPEG", "TIFF", 8, compression="jpeg", quality=97)
    yield _rgb("pixmap.ppm", "PPM", "PPM")
    plain = picture("plain-text.ppm")
    text = b"P3\n# a comment\n48 32 255\n" + b" ".join(b"%d" % value for value in plain.ravel())
    yield _decoded("plain-text.ppm", "PPM written as text", text, plain)

    several = [Image.fromarray(picture(f"frame {number}")) for number in range(3)]
    rest: dict[str, Any] = {"save_all": True, "append_images": several[1:]}
    first = picture("frame 0")
    yield _decoded("phone.mpo", "MPO: several JPEGs in one file", encoded(several[0], "MPO", **rest, **JPEG), first, 8)
    palettes = {}
    for name in ("animated.gif", "frame 2", "still.gif", "palette.bmp"):
        palettes[name] = Image.fromarray(picture(name)).quantize(16)
    want = {name: np.asarray(image.getpalette()).reshape(-1, 3)[np.asarray(image)] for name, image in palettes.items()}
    gif = encoded(palettes["animated.gif"], "GIF", save_all=True, append_images=[palettes["frame 2"]])
    yield _decoded("animated.gif", "animated GIF: the first frame", gif, want["animated.gif"])
    yield _decoded("still.gif", "GIF", encoded(palettes["still.gif"], "GIF"), want["still.gif"])
    yield _decoded("palette.bmp", "BMP with a palette", encoded(palettes["palette.bmp"], "BMP"), want["palette.bmp"])
    for number, (name, kind, options) in enumerate(
        [("animated.webp", "WEBP", {"lossless": True}), ("animated.png", "PNG", {}), ("pages.tif", "TIFF", {})]
    ):
        frames = [Image.fromarray(picture(f"{name} {frame}")) for frame in range(3)]
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        how = ("animated WebP", "APNG", "TIFF of three pages")[number]
        yield _decoded(name, f"{how}: the first frame", content, picture(f"{name} 0"))


def _extras() -> Iterator[Case]:
    values = (picture("scan.dcm")[..., 0].astype(np.uint16) << 4) + 3
    shown = (values.astype(float).clip(499.5, 3499.5) - 499.5) * 255 / 3000
    windowed = dicom(values, WindowCenter=2000, WindowWidth=3001)
    yield _decoded("scan.dcm", "DICOM of 12 bits with a window", windowed, grey(np.rint(shown)))
    inverted = dicom(values, PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    yield _decoded(
        "film.dcm", "DICOM whose 0 is white", inverted, grey(np.rint(255 - values.astype(float) * 255 / 4095))
    )
    hounsfield = dicom(values, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=1000, WindowWidth=4001)
    shown = ((values.astype(float) * 2 - 1024).clip(-1000.5, 2999.5) + 1000.5) * 255 / 4000
    yield _decoded("ct.dcm", "DICOM in Hounsfield units", hounsfield, grey(np.rint(shown)))
    yield _decoded("colour.dcm", "DICOM in RGB", dicom(picture("colour.dcm")), picture("colour.dcm"))
    flat = np.broadcast_to(np.array((255, 180, 64), np.uint8), (HEIGHT, WIDTH, 3))
    yield _decoded("camera.dng", "camera RAW of one colour, with LibRaw's gamma", dng(), flat, 1)


def _modes() -> Iterator[Case]:
    rng = np.random.default_rng(1)
    light = picture("grey.jpg")[..., 0]
    yield _decoded("grey.jpg", "grey JPEG", encoded(light, "JPEG", **JPEG), grey(light), 4)
    for kind, name in (("PNG", "bits.png"), ("PPM", "bits.pbm"), ("TIFF", "bits.tif")):
        bits = np.where(picture(name)[..., 0] > 127, 255, 0).astype(np.uint8)
        yield _decoded(name, f"1-bit {kind}", encoded(Image.fromarray(bits).convert("1"), kind), grey(bits))
    for name in ("grey16.png", "grey16.pgm", "grey16.tif"):
        wide = picture(name)[..., 1].astype(np.uint16) << 8
        wide += rng.integers(0, 256, wide.shape, dtype=np.uint16)
        by_hand = png(WIDTH, HEIGHT, 16, 0, filtered(wide.astype(">u2")))
        content = by_hand if name.endswith("png") else encoded(wide, "PPM" if name.endswith("pgm") else "TIFF")
        yield _decoded(name, "grey of 16 bits", content, grey(np.rint(wide / 65535 * 255)))
    deep = (picture("deep").astype(np.uint16) << 8) + rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    deep_scaled = np.rint(deep / 65535 * 255).astype(np.uint8)
    rows = filtered(deep.astype(">u2"))
    yield _decoded("rgb16.png", "16-bit RGB PNG", png(WIDTH, HEIGHT, 16, 2, rows), deep_scaled, 1)
    tags = {256: ("I", WIDTH), 257: ("I", HEIGHT), 258: ("H", 16), 259: ("H", 1), 262: ("H", 2), 273: ("I", 0)}
    tags |= {277: ("H", 3), 278: ("I", HEIGHT), 279: ("I", deep.nbytes)}
    yield _decoded("rgb16.tif", "16-bit RGB TIFF", tiff(tags, deep[::-1].tobytes()), deep_scaled[::-1], 1)
    ranges = {"unit": (1.0, 1.0), "byte": (255.0, 1.0), "word": (60_000.0, 255 / 65535)}
    for name, (top, factor) in ranges.items():
        values = (picture(f"float {name}")[..., 0] / 255 * top).astype(np.float32)
        values[0, :3] = [np.nan, -5.0, top]
        factor = 255.0 if name == "unit" else factor
        want = grey(np.rint(np.nan_to_num(values.astype(float)).clip(0) * factor))
        how = f"float TIFF from 0 to {top:g}, one NaN, one negative"
        yield _decoded(f"float-{name}.tif", how, encoded(Image.fromarray(values), "TIFF"), want)
    inks = np.dstack([picture("inks"), picture("black")[..., :1] // 2])
    want = np.rint((255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255).astype(np.uint8)
    yield _decoded(
        "cmyk.jpg", "CMYK JPEG", encoded(Image.fromarray(inks, "CMYK"), "JPEG", **JPEG), want, JPEG_TOLERANCE
    )
    yield _decoded("cmyk.tif", "CMYK TIFF", encoded(Image.fromarray(inks[::-1].copy(), "CMYK"), "TIFF"), want[::-1])
    lab = Image.fromarray(picture("lab.tif")).convert("LAB")
    yield _decoded("lab.tif", "TIFF in CIELAB", encoded(lab, "TIFF", icc_profile=None), picture("lab.tif"), 24)
    # YCCK: the first three inks as YCbCr, the black as CMYK has it; Adobe's marker says so.
    inks = np.dstack([picture("ycck inks"), picture("ycck black")[..., :1] // 2])
    want = np.rint((255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255).astype(np.uint8)
    opponent = np.asarray(Image.fromarray(inks[..., :3].copy()).convert("YCbCr"))
    stored = np.dstack([255 - opponent, inks[..., 3:]])
    ycck = patched(encoded(Image.fromarray(stored, "CMYK"), "JPEG", **JPEG), b"Adobe", 11, b"\x02")
    yield _decoded("ycck.jpg", "YCCK JPEG", ycck, want, 12)


def _alpha() -> Iterator[Case]:
    rng = np.random.default_rng(2)
    colour = picture("alpha")
    alpha = rng.integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    on_white = np.rint((colour * (alpha / 255.0)) + 255 * (1 - alpha / 255.0)).astype(np.uint8)
    layers = np.dstack([colour, alpha])
    yield _decoded("alpha.png", "RGBA PNG on white", encoded(layers, "PNG"), on_white, 1)
    yield _decoded(
        "alpha.webp", "RGBA WebP on white", encoded(layers[::-1], "WEBP", lossless=True, exact=True), on_white[::-1], 1
    )
    yield _decoded("alpha.tif", "RGBA TIFF on white", encoded(layers[:, ::-1], "TIFF"), on_white[:, ::-1], 1)
    hidden = np.dstack([np.where(alpha > 127, picture("hidden"), 7), np.where(alpha > 127, 255, 0)]).astype(np.uint8)
    want = np.where(alpha > 127, picture("hidden"), 255).astype(np.uint8)
    yield _decoded("hidden.png", "PNG with a colour hidden under transparent pixels", encoded(hidden, "PNG"), want)
    opaque = np.dstack([picture("opaque"), np.full_like(alpha, 255)])
    yield _decoded("opaque.png", "RGBA PNG without a transparent pixel", encoded(opaque, "PNG"), picture("opaque"))
    light = picture("la")[..., :1]
    want = grey(np.rint((light * (alpha / 255.0)) + 255 * (1 - alpha / 255.0))[..., 0])
    yield _decoded("grey-alpha.png", "grey PNG with alpha", encoded(np.dstack([light, alpha]), "PNG"), want, 1)
    for name, kind in (("palette-clear.png", "PNG"), ("palette-clear.gif", "GIF")):
        image = Image.fromarray(picture(name)).quantize(16)
        shown = np.asarray(image.getpalette()).reshape(-1, 3)[np.asarray(image)]
        want = np.where((np.asarray(image) == 3)[..., None], 255, shown).astype(np.uint8)
        how = f"{kind} with a palette, one colour of it transparent"
        yield _decoded(name, how, encoded(image, kind, transparency=3), want)
    key = picture("key").copy()
    key[:4] = (1, 2, 3)
    want = key.copy()
    want[:4] = 255
    yield _decoded("key.png", "RGB PNG with one transparent colour", encoded(key, "PNG", transparency=(1, 2, 3)), want)


def _turned() -> Iterator[Case]:
    kinds: list[tuple[str, str, dict[str, Any], int]] = [("jpg", "JPEG", JPEG, JPEG_TOLERANCE)]
    kinds += [("tif", "TIFF", {}, 0), ("png", "PNG", {}, 0), ("webp", "WEBP", {"lossless": True}, 0)]
    kinds += [("avif", "AVIF", {"quality": 100, "subsampling": "4:4:4"}, 5)]
    for ending, kind, options, tolerance in kinds:
        for orientation in range(1, 9) if kind == "JPEG" else (5, 6, 8):
            name = f"orientation-{orientation}.{ending}"
            upright = picture(name)
            content = encoded(STORED[orientation](upright), kind, exif=exif(orientation), **options)
            stored = (HEIGHT, WIDTH) if orientation > 4 else (WIDTH, HEIGHT)
            yield _decoded(
                name,
                f"{kind} turned as EXIF orientation {orientation} says",
                content,
                upright,
                tolerance,
                stored=stored,
            )


def _metadata() -> Iterator[Case]:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile[:24] + bytes(12) + profile[36:]  # the time when it was made
    yield _rgb("profile.jpg", "JPEG with an ICC profile", "JPEG", JPEG_TOLERANCE, icc_profile=profile, **JPEG)
    yield _rgb("profile.png", "PNG with an ICC profile", "PNG", icc_profile=profile)
    yield _rgb("bad-profile.jpg", "JPEG with an ICC profile of noise", "JPEG", 8, icc_profile=noise(300), **JPEG)
    yield _rgb("orientation-0.jpg", "EXIF orientation 0", "JPEG", JPEG_TOLERANCE, exif=exif(0), **JPEG)
    yield _rgb("orientation-9.png", "EXIF orientation 9", "PNG", exif=exif(9))
    name = "bad-exif.jpg"
    spoiled = with_segment(encoded(picture(name), "JPEG", **JPEG), 0xE1, b"Exif\0\0" + bytes(range(256)) * 20)
    yield _decoded(name, "JPEG with EXIF of noise", spoiled, picture(name), JPEG_TOLERANCE)
    name = "exif-loop.jpg"
    # One directory whose EXIF part, GPS part and next directory are itself.
    loop = b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHII", 0x8769, 4, 1, 8)
    loop += struct.pack("<HHII", 0x8825, 4, 1, 8) + struct.pack("<I", 8)
    yield _decoded(
        name,
        "JPEG whose EXIF directory is its own part and its own next",
        with_segment(encoded(picture(name), "JPEG", **JPEG), 0xE1, b"Exif\0\0" + loop),
        picture(name),
        JPEG_TOLERANCE,
    )
    name = "many-segments.jpg"
    content = encoded(picture(name), "JPEG", **JPEG)
    for number in range(300):
        content = with_segment(content, 0xE0 + number % 16, noise(2000 + number))
    yield _decoded(name, "JPEG with 300 segments of noise", content, picture(name), JPEG_TOLERANCE)
    name = "video-behind.jpg"
    behind = encoded(picture(name), "JPEG", **JPEG) + b"\xff\xda\0\x08" * 50_000
    yield _decoded(name, "JPEG with a video behind it that holds 50,000 start-of-scan marks", behind, picture(name), 8)
    name = "scans.jpg"
    yield _decoded(name, "JPEG of 50 scans", num_scans_jpeg(40), grey(np.full((HEIGHT, WIDTH), 128)), 1)
    name = "comment.png"
    text = chunk(b"tEXt", b"Comment\0" + b"<script>alert(1)</script>" * 2000)
    yield _decoded(
        name, "PNG with a comment of 50 KB", png(WIDTH, HEIGHT, 8, 2, filtered(picture(name)), text), picture(name)
    )
    packed = zlib.compress(bytes(2**24), 9)
    rows = filtered(picture("text bomb"))
    for kind, word in ((b"zTXt", b"Comment"), (b"iCCP", b"icc")):
        content = png(WIDTH, HEIGHT, 8, 2, rows, chunk(kind, word + b"\0\0" + packed))
        yield Case(
            f"{kind.decode()}-bomb.png", f"PNG whose {kind.decode()} unpacks to 16 MiB", "too_large", content=content
        )
    yield _decoded(
        "one-pixel.png",
        "1 x 1",
        encoded(np.full((1, 1, 3), 77, np.uint8), "PNG"),
        np.full((HEIGHT, WIDTH, 3), 77, np.uint8),
        stored=(1, 1),
    )
    content, small = tall()
    yield _decoded("tall.png", "1 x 20,000", content, small, 1, stored=(1, 20_000))


def _broken() -> Iterator[Case]:
    def broken(name: str, how: str, content: bytes, reason: str) -> Case:
        return Case(name, how, reason, content=content)

    yield broken("empty.jpg", "no bytes", b"", "empty")
    yield broken("one-byte.jpg", "one byte", b"\xff", "not_an_image")
    yield broken("text.jpg", "text", b"These are not the pixels you are looking for.\n" * 20, "not_an_image")
    yield broken("page.jpg", "HTML", b"<!DOCTYPE html><html><script>alert(1)</script></html>", "not_an_image")
    yield broken("drawing.png", "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image")
    yield broken("paper.jpg", "PDF", b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n", "not_an_image")
    yield broken(
        "script.jpg",
        "EPS, which must start no Ghostscript",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "not_an_image",
    )
    yield broken("film.jpg", "MP4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(500), "not_an_image")
    yield broken("archive.png", "ZIP", b"PK\x03\x04" + noise(200), "not_an_image")
    yield broken("noise.jpg", "noise", b"\x01" + noise(5000), "not_an_image")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08mdat" + bytes(500)
    yield broken("bare.heic", "HEIC without an image", heic, "corrupt")
    heic = (Path(__file__).parent / "data" / "images" / "phone.heic").read_bytes()
    for cut in (300, len(heic) // 2, len(heic) - 3):
        yield broken(f"cut-{cut}.heic", f"HEIC after {cut} of {len(heic)} bytes", heic[:cut], "truncated")
    yield broken("cut.dcm", "DICOM cut in half", dicom(np.zeros((32, 48), np.uint16))[:2000], "truncated")
    yield broken("report.dcm", "DICOM without pixels", dicom(None), "not_an_image")
    yield broken("cut.dng", "camera RAW cut in half", dng()[:2000], "truncated")
    yield broken("new.jxl", "JPEG XL, which is not read", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "unsupported")
    yield broken("map.jp2", "JPEG 2000, which is not read", encoded(picture("jp2"), "JPEG2000"), "unsupported")
    yield broken("layers.psd", "Photoshop file", b"8BPS\0\1" + bytes(200), "unsupported")
    tags = {
        256: ("I", WIDTH),
        257: ("I", HEIGHT),
        258: ("H", 13),
        259: ("H", 1),
        262: ("H", 2),
        273: ("I", 0),
        277: ("H", 3),
    }
    yield broken("thirteen-bits.tif", "TIFF of 13 bits", tiff(tags, bytes(20_000)), "unsupported")
    grey = {**tags, 262: ("H", 1), 277: ("H", 1)}
    signed, wide = {**grey, 258: ("H", 8), 339: ("H", 2)}, {**grey, 258: ("H", 32)}
    yield broken("signed-bytes.tif", "TIFF of signed bytes", tiff(signed, bytes(WIDTH * HEIGHT)), "unsupported")
    full = b"\xff" * (4 * WIDTH * HEIGHT)
    yield broken("over-31-bits.tif", "TIFF of 32 bits beyond 2147483647", tiff(wide, full), "unsupported")

    photo = encoded(picture("cut", 200, 300), "JPEG", **JPEG)
    for place, cut in enumerate([4, 30, 200, 630, len(photo) // 2, len(photo) - 200, len(photo) - 3]):
        yield broken(f"cut-{place}.jpg", f"JPEG after {cut} of {len(photo)} bytes", photo[:cut], "truncated")
    progressive = encoded(picture("cut", 200, 300), "JPEG", progressive=True, **JPEG)
    yield broken(
        "cut-progressive.jpg", "progressive JPEG cut in half", progressive[: len(progressive) // 2], "truncated"
    )
    for name, kind, options in (
        ("cut.png", "PNG", {}),
        ("cut.gif", "GIF", {}),
        ("cut.bmp", "BMP", {}),
        ("cut.tif", "TIFF", {}),
        ("cut.webp", "WEBP", {"lossless": True}),
        ("cut.ppm", "PPM", {}),
    ):
        whole = encoded(picture(name), kind, **options)
        yield broken(name, f"{kind} cut in half", whole[: len(whole) // 2], "truncated")
    whole = encoded(picture("crc"), "PNG")
    yield broken(
        "crc-header.png", "PNG with a bad CRC in its header", patched(whole, b"IHDR", 17, b"\0\0\0\0"), "corrupt"
    )
    pixels_length = struct.unpack(">I", whole[whole.index(b"IDAT") - 4 :][:4])[0]
    bad = patched(whole, b"IDAT", 4 + pixels_length, b"\0\0\0\0")
    yield broken("crc-pixels.png", "PNG with a bad CRC of its pixels", bad, "corrupt")
    header = whole[: whole.index(b"IDAT") - 4]
    yield broken("no-pixels.png", "PNG without pixels", header + chunk(b"IEND", b""), "corrupt")
    yield broken(
        "noise-pixels.png",
        "PNG with noise for pixels",
        header + chunk(b"IDAT", noise(500)) + chunk(b"IEND", b""),
        "corrupt",
    )
    stream = zlib.compress(filtered(picture("stream")))
    pixels = chunk(b"IDAT", stream[: len(stream) // 2])
    yield broken(
        "cut-stream.png",
        "PNG of whole chunks with half of the pixels",
        header + pixels + chunk(b"IEND", b""),
        "truncated",
    )
    yield broken("no-end.png", "PNG without its end", whole[:-12], "truncated")
    few = picture("few").copy()
    few[9:] = 0
    content = png(WIDTH, HEIGHT, 8, 2, filtered(few[:9]))
    yield _decoded("few-pixels.png", "PNG of whole chunks with too few rows: black below", content, few)
    tags = {256: ("I", WIDTH), 257: ("I", HEIGHT), 258: ("H", 8), 259: ("H", 1), 262: ("H", 1), 273: ("I", 0)}
    tags |= {277: ("H", 1), 278: ("I", HEIGHT // 2), 279: ("I", WIDTH * HEIGHT // 2)}
    yield broken("one-strip.tif", "TIFF that lacks its second strip", tiff(tags, bytes(WIDTH * HEIGHT)), "truncated")
    yield broken("no-width.jpg", "JPEG of width 0", jpeg_resized(encoded(picture("w"), "JPEG"), 0, 32), "corrupt")
    yield broken(
        "directory-behind.tif",
        "TIFF whose directory lies behind its end",
        b"II*\0\xff\xff\xff\0" + bytes(200),
        "truncated",
    )


def bombs_of_each_format() -> Iterator[Case]:
    """Small files that promise, or hide, far too much."""

    def too_large(name: str, how: str, content: bytes) -> Case:
        return Case(name, how, "too_large", content=content)

    yield too_large("bomb.png", "PNG of 200 megapixels in 24 KB", bomb())
    # 121 megapixels: over the policy's limit, and under Pillow's own.
    side = 11_000
    small = picture("bomb")
    yield too_large("header.png", "PNG that says 121 megapixels", png(side, side, 8, 2, bytes(100)))
    yield too_large("header.jpg", "JPEG that says 121 megapixels", jpeg_resized(encoded(small, "JPEG"), side, side))
    screen = struct.pack("<HH", side, side)
    yield too_large("header.gif", "GIF that says 121 megapixels", patched(encoded(small, "GIF"), b"GIF8", 6, screen))
    words = struct.pack("<II", side, side)
    yield too_large("header.bmp", "BMP that says 121 megapixels", patched(encoded(small, "BMP"), b"BM", 18, words))
    tags = {
        256: ("I", side),
        257: ("I", side),
        258: ("H", 8),
        259: ("H", 1),
        262: ("H", 1),
        273: ("I", 0),
        277: ("H", 1),
    }
    yield too_large("header.tif", "TIFF that says 121 megapixels", tiff(tags, bytes(100)))
    canvas = (side - 1).to_bytes(3, "little") * 2
    animated = encoded(
        Image.fromarray(small), "WEBP", save_all=True, append_images=[Image.fromarray(small[::-1].copy())]
    )
    yield too_large("header.webp", "WebP that says 121 megapixels", patched(animated, b"VP8X", 12, canvas))
    sides = struct.pack(">II", side, side)
    yield too_large("header.avif", "AVIF that says 121 megapixels", patched(encoded(small, "AVIF"), b"ispe", 8, sides))
    yield too_large("header.ppm", "PPM that says 121 megapixels", b"P6 %d %d 255\n" % (side, side) + bytes(100))
    yield too_large("tile.tif", "TIFF of 10 x 10 in a tile of 144 megapixels", tile_bomb())
    yield too_large("thin.png", "PNG of 20,000,000 x 1 pixels in 20 KB", thin())


def costly_of_each_format() -> Iterator[Case]:
    """Small images, or none, that take a decoder very long."""

    def costly(name: str, how: str, content: bytes) -> Case:
        return Case(name, how, "too_costly", content=content)

    jpeg, plain = encoded(picture("costly"), "JPEG"), encoded(picture("costly"), "PNG")
    gif = encoded(Image.fromarray(picture("costly")).quantize(16), "GIF")
    many, empty = 300_000, 30_000
    yield costly("fill-bytes.jpg", "JPEG with 300,000 fill bytes", jpeg[:2] + b"\xff" * many + jpeg[2:])
    yield costly("zeros.jpg", "JPEG signature and zeros", b"\xff\xd8\xff" + bytes(many))
    yield costly("segments.jpg", "JPEG with 30,000 empty segments", jpeg[:2] + b"\xff\xe4\0\2" * empty + jpeg[2:])
    exif_segment = b"\xff\xe1\0\x09Exif\0\0 "
    yield costly("exif-segments.jpg", "JPEG with 100 segments of EXIF", jpeg[:2] + exif_segment * 100 + jpeg[2:])
    resources = jpeg
    for _ in range(6):
        resources = with_segment(resources, 0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5000)
    yield costly("resources.jpg", "JPEG with 30,000 Photoshop resources", resources)
    yield costly("scans-bomb.jpg", "JPEG of 2,000 scans", num_scans_jpeg(2000))
    yield costly("chunks.png", "PNG with 30,000 empty chunks", plain[:33] + chunk(b"prVt", b"") * empty + plain[33:])
    pixel_chunks = chunk(b"IDAT", b"") * 60_000
    yield costly("pixel-chunks.png", "PNG with 60,000 empty chunks of pixels", plain[:33] + pixel_chunks + plain[33:])
    yield costly("exif.png", "PNG with 5 MB of EXIF", plain[:33] + chunk(b"eXIf", bytes(5_000_000)) + plain[33:])
    start = 13 + 3 * 16
    yield costly("zeros.gif", "GIF with zeros before its frame", gif[:start] + bytes(many) + gif[start:])
    comment = b"!\xfe" + b"\1x" * empty + b"\0"
    yield costly("comment.gif", "GIF with a comment in blocks of a byte", gif[:start] + comment + gif[start:])
    yield costly("comment.ppm", "PPM of nothing but a comment", b"P6\n#" + bytes(many))
    yield costly(
        "spaces.ppm", "PPM with spaces before its size", b"P5 " + b" " * many + b"48 32 255\n" + bytes(48 * 32)
    )
    comments = b"P2 48 32 255\n" + b"#\n" * 3000 + b"7 " * 48 * 32
    yield costly("comments.pgm", "PGM as text with 3,000 comments", comments)
    yield costly("slow.ppm", "PPM of 6 megapixels as text, slow to decode", b"P3 3000 2000 255\n" + b"0 " * 1000)
    yield costly("run-lengths.bmp", "BMP with 150,000 run lengths of nothing", run_lengths(150_000))
    base = {256: ("I", 48), 257: ("I", 32), 258: ("H", 8), 259: ("H", 8), 262: ("H", 1), 277: ("H", 1)}
    tags = base | dict.fromkeys(range(1000, 31_000), ("H", 1))
    yield costly("tags.tif", "TIFF of 30,000 tags", tiff(tags, b""))
    number = struct.pack("<HHII", 282, 5, 2_000_000, 0)
    yield costly("numbers.tif", "TIFF with 2,000,000 numbers in a tag", b"II*\0\x08\0\0\0\1\0" + number + bytes(4))
    tiles = {256: ("I", 16), 257: ("I", 60_000), 322: ("I", 1_000_000), 323: ("I", 16), 324: ("I", 0), 325: ("I", 9)}
    yield costly("tiles.tif", "TIFF of 16 x 60,000 in tiles that cover 60 gigapixels", tiff(base | tiles, bytes(9)))


def _names() -> Iterator[Case]:
    names = [
        "with space.png",
        "'single' \"double\" `back`.png",
        "new\nline.png",
        "tab\tand\rreturn.png",
        "emoji 😀🐈.png",
        "right-to-left \u202egnp.exe.png",
        "e\u0301 combining.png",
        "<script>alert(1)<!--.png",
        "-rf.png",
        ".hidden.png",
        "..two-dots.png",
        "back\\slash \\x41.png",
        "percent%20%s{0}$HOME;|&.png",
        'comma,quote",semicolon;.png',
        "~.png",
        "CON.png",
        "x" * 246 + ".png",
        os.fsdecode(b"latin-1 caf\xe9 \xff.png"),
        "latin-1 caf\\xe9 \\xff.png",
    ]
    for name in names:
        shown = os.fsencode(name).decode("utf-8", "replace")
        yield _decoded(name, "a name to stumble over", encoded(picture(shown), "PNG"), picture(shown))
    for name in (".DS_Store", "._resource.jpg", "notes.txt", "page.html", "Thumbs.db"):
        yield Case(name, "left behind by a system or a person", "stray_file", content=encoded(picture(name), "PNG"))


def _links(outside: Path) -> Iterator[Case]:
    target = picture("target.png")
    yield _decoded("target.png", "PNG that links lead to", encoded(target, "PNG"), target)
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "secret.png").write_bytes(encoded(picture("secret"), "PNG"))

    def link(name: str, how: str, reason: str, to: str | Path) -> Case:
        return Case(name, how, reason, write=lambda path: path.symlink_to(to))

    yield link("outside.png", "link to a file outside", "link_outside", outside / "secret.png")
    yield link("outside-folder", "link to a folder outside", "link_outside", outside)
    yield link("passwords.jpg", "link to /etc/passwd", "link_outside", "/etc/passwd")
    yield link("endless.jpg", "link to /dev/zero", "link_outside", "/dev/zero")
    yield link("dangling.png", "link to nothing", "broken_link", "nothing.png")
    yield link("loop.png", "link to itself", "broken_link", "loop.png")
    yield link("parent", "link to the folder that it lies in", "link_to_folder", ".")
    yield Case("fifo.jpg", "FIFO", "not_a_file", write=lambda path: os.mkfifo(path))
    yield Case("socket.jpg", "socket", "not_a_file", write=lambda path: os.mknod(path, stat.S_IFSOCK | 0o600))
    if os.geteuid() != 0:  # root reads everything
        locked = encoded(picture("locked"), "PNG")
        yield Case(
            "locked.png", "file without permission", "unreadable", content=locked, then=lambda path: path.chmod(0)
        )
        yield Case("locked", "folder without permission", "unreadable", write=lambda path: path.mkdir(0))


def _changing(outside: Path) -> Iterator[Case]:
    content = encoded(picture("before"), "PNG")

    def changed(name: str, how: str, reason: str, then: Callable[[Path], None]) -> Case:
        return Case(name, how, reason, content=content, then=then)

    def swap(make: Callable[[Path], object]) -> Callable[[Path], None]:
        def then(path: Path) -> None:
            path.unlink()
            make(path)

        return then

    yield changed("vanishes.png", "deleted after it was listed", "unreadable", lambda path: path.unlink())
    yield changed("becomes-fifo.png", "swapped for a FIFO", "unreadable", swap(os.mkfifo))
    yield changed("becomes-folder.png", "swapped for a folder", "unreadable", swap(Path.mkdir))
    secret = outside / "secret.png"
    yield changed(
        "becomes-link.png", "swapped for a link outside", "link_outside", swap(lambda path: path.symlink_to(secret))
    )
    yield changed(
        "becomes-loop.png", "swapped for a link to itself", "unreadable", swap(lambda path: path.symlink_to(path))
    )
    yield changed("becomes-empty.png", "emptied after it was listed", "empty", lambda path: os.truncate(path, 0))
    yield changed("is-cut.png", "cut after it was listed", "truncated", lambda path: os.truncate(path, 500))
    after = picture("after")
    yield Case(
        "is-rewritten.png",
        "rewritten after it was listed",
        None,
        after,
        content=content,
        then=swap(lambda path: path.write_bytes(encoded(after, "PNG"))),
    )


def cases(outside: Path) -> list[Case]:
    """Every case; `outside` is a folder beside the corpus that links lead to, made by this."""
    kinds = [_formats(), _extras(), _modes(), _alpha(), _turned(), _metadata(), _broken()]
    kinds += [bombs_of_each_format(), costly_of_each_format(), _names()]
    return [case for kind in [*kinds, _links(outside), _changing(outside)] for case in kind]


def small_files(limit: int = 100_000) -> list[bytes]:
    """What the fuzzer changes: the files of the corpus that are made quickly and have at most `limit` bytes."""
    kinds = [_formats(), _extras(), _modes(), _alpha(), _turned(), _metadata(), _broken()]
    return [case.content for kind in kinds for case in kind if 0 < len(case.content) <= limit]


def write_corpus(folder: Path, outside: Path) -> dict[str, Case]:
    """Write the corpus in turns into one folder a label; returns the cases by their path relative to `folder`."""
    written = {}
    for label in LABELS:
        (folder / label).mkdir(parents=True)
    for number, case in enumerate(cases(outside)):
        os_path = f"{LABELS[number % len(LABELS)]}/{case.name}"
        if case.write:
            case.write(folder / os_path)
        else:
            (folder / os_path).write_bytes(case.content)
        written[os_path] = case
    deep = deep_folder(folder, LABELS[0])
    written[deep] = Case(deep, "folder whose path is longer than the system takes", "unreadable")
    return written


def deep_folder(folder: Path, label: str) -> str:
    """Nest folders until their path is too long even for root to open; gives the path of the first such, as listed."""
    inside, level = label, os.open(folder / label, os.O_RDONLY | os.O_DIRECTORY)
    while len(os.fsencode(os.path.realpath(folder))) + 1 + len(inside) < os.pathconf("/", "PC_PATH_MAX"):
        name = "d" * 200
        os.mkdir(name, dir_fd=level)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=level)
        os.close(level)
        inside, level = f"{inside}/{name}", below
    os.close(level)
    return f"{inside}/"


def change(folder: Path, written: dict[str, Case]) -> None:
    """What happens to the files between listing and reading."""
    for os_path, case in written.items():
        if case.then:
            case.then(folder / os_path)


if __name__ == "__main__":
    made = write_corpus(Path(sys.argv[1]), Path(sys.argv[1] + "-outside"))
    for os_path, one in made.items():
        sys.stdout.write(f"{one.reason or 'decoded':13} {os_path[:80]!a} {one.how}\n")
