"""DICOM and camera RAW, which optional packages decode: `pip install 'darkroom-flows[dicom]'`, `[raw]`.

DICOM (PS3.3, C.7.6.3 and C.11): the first frame. Grey is rescaled by slope and intercept, and windowed by the file's
first window or, without one, over the range of its stored bits. MONOCHROME1 is inverted.

RAW: demosaiced by LibRaw with the camera's white balance and a fixed brightness; at half size where that is no smaller
than what is asked for.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.errors import ImageError
from darkroom.data.images.pixels.window import Bounds, Measured, scaled_to_bytes
from darkroom.data.reason_codes import ReasonCode

if TYPE_CHECKING:
    from darkroom.data.images.pixels.decode_policy import DecodePolicy

_DICOM = b"DICM"
_DICOM_PREAMBLE = 128
# Fujifilm, Olympus, Panasonic, Sigma, Canon's CR3 and CR2.
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")
_CR3, _CR2 = b"ftypcrx ", b"CR\2\0"
_TIFF = (b"II*\0", b"MM\0*")
_KIND_OF_PAGE, _PHOTOMETRIC, _SUB_PAGES, _DNG_VERSION = 254, 262, 330, 50706
_REDUCED = 1
_MOSAICS = frozenset({32803, 34892})
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})


@dataclass(frozen=True)
class ExtraImage:
    """An image that Pillow does not open, before it is decoded.

    Attributes:
        format: `DICOM` or `RAW`.
        width, height: In pixels.
        mode: As Pillow would name it.
        opened: Of the package that decodes it.
    """

    format: str
    width: int
    height: int
    mode: str
    opened: Any

    def load(self, policy: DecodePolicy) -> Image.Image:
        """The image in L or RGB, upright.

        Args:
            policy: Its window, and for RAW its size and whether it is turned, count.

        Raises:
            ImageError: `unsupported`.
            Exception: whatever the package raises of damaged files.
        """
        return _load_dicom(self.opened, policy) if self.format == "DICOM" else _load_raw(self.opened, policy)

    @property
    def is_deep(self) -> bool:
        """Whether it holds more than 8 bits of grey, and no window says how they are meant."""
        return self.mode == "I" and int(self.opened.BitsStored) > 8 and _dicom_window(self.opened) is None

    def measured(self) -> Measured:
        """Its values, rescaled; only where it is deep."""
        from pydicom.pixels import apply_modality_lut, pixel_array

        values = apply_modality_lut(pixel_array(self.opened, index=0), self.opened)
        quartile = float(np.percentile(values, 75))
        return Measured(float(values.min()), float(values.max()), 0.0, None, _dicom_range(self.opened), quartile)


def open_extra(data: bytes) -> ExtraImage | None:
    """The header of a DICOM or RAW file; None for any other.

    Args:
        data: The whole file, bytes.

    Raises:
        ImageError: `needs_extra`, where the package is not installed; `not_an_image`, for DICOM without pixels.
        Exception: whatever the package raises of damaged files.
    """
    if data[_DICOM_PREAMBLE : _DICOM_PREAMBLE + len(_DICOM)] == _DICOM:
        return _open_dicom(data)
    return _open_raw(data) if _is_raw(data) else None


def _open_dicom(data: bytes) -> ExtraImage:
    try:
        from pydicom import dcmread
    except ImportError:
        raise ImageError("needs_extra", "DICOM: pip install 'darkroom-flows[dicom]'") from None
    _quieten_pydicom()
    found = dcmread(io.BytesIO(data))
    if "PixelData" not in found:
        raise ImageError("not_an_image", "DICOM without pixels")
    mode = "I" if found.PhotometricInterpretation in _GREY else "RGB"
    return ExtraImage("DICOM", int(found.Columns), int(found.Rows), mode, found)


@cache
def _quieten_pydicom() -> None:
    """Have it warn of nothing: the reason code says what matters."""
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def _load_dicom(found: Any, policy: DecodePolicy) -> Image.Image:
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    interpretation = found.PhotometricInterpretation
    try:
        values = pixel_array(found, index=0)
    except ValueError as error:
        if "less than expected" in str(error):
            raise ImageError("truncated", str(error)) from None
        raise
    except (NotImplementedError, RuntimeError) as error:  # no decoder for how the pixels are packed
        raise ImageError("unsupported", str(error).partition("\n")[0]) from None
    if interpretation in _GREY and values.ndim == 2:
        bounds = policy.window if isinstance(policy.window, tuple) else _dicom_range(found)
        if policy.window in ("auto", "file"):
            bounds = _dicom_window(found) or bounds
        if interpretation == "MONOCHROME1":
            bounds = bounds[1], bounds[0]
        grey = np.empty(values.shape, np.uint8)
        rows = max(1, 2**20 // values.shape[1])
        for top in range(0, len(grey), rows):  # numbers of 64 bits, of which there are several copies
            strip = slice(top, top + rows)
            grey[strip] = scaled_to_bytes(apply_modality_lut(values[strip], found), bounds)
        return Image.fromarray(grey)
    if interpretation == "PALETTE COLOR":
        values = apply_color_lut(values, found)
        values = (values >> 8).astype(np.uint8) if values.dtype.itemsize > 1 else values
    if values.ndim != 3 or values.shape[2] != 3 or values.dtype != np.uint8:
        raise ImageError("unsupported", f"DICOM of {interpretation} with {found.BitsAllocated} bits")
    return Image.fromarray(values)


def _dicom_range(found: Any) -> Bounds:
    """The smallest and the largest value that its bits can hold, rescaled."""
    from pydicom.pixels import apply_modality_lut

    half = 2 ** (int(found.BitsStored) - 1)
    ends = np.array([-half, half - 1] if found.PixelRepresentation else [0, 2 * half - 1])
    low, high = sorted(float(each) for each in apply_modality_lut(ends, found))
    return low, high


def _dicom_window(found: Any) -> Bounds | None:
    """Black and white of the first window of the file (PS3.3, C.11.2.1.2)."""
    centre, width = (_first(found.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    function = str(found.get("VOILUTFunction", "LINEAR") or "LINEAR")
    if function == "SIGMOID":
        raise ImageError("unsupported", "DICOM with a sigmoid window; give one with --window LOW,HIGH")
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return centre - width / 2, centre + max(width, 1e-6) / 2


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float | str) else value[0])


def _is_raw(data: bytes) -> bool:
    """Whether a file is a camera's RAW; a TIFF is one if its first page is its thumbnail, or a mosaic."""
    if data.startswith(_RAW) or data[4:12] == _CR3:
        return True
    if not data.startswith(_TIFF):
        return False
    if data[8:12] == _CR2:
        return True
    tags = _first_page(data)
    is_thumbnail = tags.get(_KIND_OF_PAGE) == _REDUCED
    return (_DNG_VERSION in tags and (is_thumbnail or tags.get(_PHOTOMETRIC) in _MOSAICS)) or (
        _SUB_PAGES in tags and is_thumbnail
    )


def _first_page(data: bytes) -> Mapping[int, int]:
    """The tags of a TIFF's first page, with their values where they are whole numbers."""
    order = "<" if data.startswith(b"II") else ">"
    (place,) = struct.unpack_from(order + "I", data, 4) if len(data) >= 8 else (0,)
    if not 8 <= place <= len(data) - 2:
        return {}
    (num_tags,) = struct.unpack_from(order + "H", data, place)
    entries = data[place + 2 : place + 2 + 12 * num_tags]
    tags = {}
    for tag, kind, _, value in struct.iter_unpack(order + "HHI4s", entries[: len(entries) // 12 * 12]):
        tags[tag] = struct.unpack(order + ("H2x" if kind == 3 else "I"), value)[0]
    return tags


def _open_raw(data: bytes) -> ExtraImage:
    try:
        import rawpy
    except ImportError:
        raise ImageError("needs_extra", "camera RAW: pip install 'darkroom-flows[raw]'") from None
    try:
        opened = rawpy.imread(io.BytesIO(data))
    except rawpy.LibRawFileUnsupportedError as error:
        raise ImageError("unsupported", f"camera RAW: {_said(error)}") from None
    except rawpy.LibRawError as error:
        raise ImageError("corrupt", f"camera RAW: {_said(error)}") from None
    sizes = opened.sizes
    return ExtraImage("RAW", int(sizes.raw_width), int(sizes.raw_height), "RGB", opened)


def _load_raw(opened: Any, policy: DecodePolicy) -> Image.Image:
    import rawpy

    height, width = policy.image_size
    is_large = min(opened.sizes.width, opened.sizes.height) >= 2 * max(height, width)
    try:
        pixels: NDArray[np.uint8] = opened.postprocess(
            demosaic_algorithm=rawpy.DemosaicAlgorithm.LINEAR,
            half_size=is_large,
            use_camera_wb=True,
            no_auto_bright=True,
            output_bps=8,
            user_flip=None if policy.apply_exif_rotation else 0,
        )
    except rawpy.LibRawError as error:
        reason: ReasonCode = "truncated" if isinstance(error, rawpy.LibRawIOError) else "corrupt"
        raise ImageError(reason, f"camera RAW: {_said(error)}") from None
    finally:
        opened.close()
    return Image.fromarray(pixels)


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else error
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
