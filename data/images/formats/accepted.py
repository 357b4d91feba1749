"""The formats that are decoded, and what Pillow keeps for the whole process."""

from __future__ import annotations

import logging
import warnings
from functools import cache

import pi_heif
from PIL import Image

from darkroom.data.images.formats.complaints import hear_libtiff


def _installed(*formats: str) -> tuple[str, ...]:
    Image.init()  # which registers them
    return tuple(name for name in formats if name in Image.OPEN)


# EPS, PDF and the like are left out: they start other programs or are no photographs. JPEG 2000 too: OpenJPEG takes
# 100 bytes for each pixel that a file of 2 KB promises, and gives a file cut short as if it were whole. MPO comes as
# JPEG.
# HEIF is pi-heif's, and registered by `settle_pillow`.
FORMATS = (*_installed("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM"), "HEIF")


@cache
def settle_pillow() -> None:
    """Set what Pillow keeps for the whole process; called before an image is opened, and not by an import."""
    # It warns of broken metadata and of size, and logs errors; the reason code says what matters.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    # glibc keeps blocks under 32 MB for the thread that freed them, so that the big images of all threads add up.
    Image.core.set_block_size(64 * 2**20)  # type: ignore[attr-defined]
    pi_heif.options.DECODE_THREADS = 1  # its threads would come to those of ours
    pi_heif.register_heif_opener()
    hear_libtiff()
