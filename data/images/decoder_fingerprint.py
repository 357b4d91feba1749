"""Which decoder is installed: its fingerprint, by which pixels of another one are told from ours.

Pixels depend on Pillow and the libraries in it (libjpeg-turbo, libwebp, libtiff), on simplejpeg, on cykooz-resizer and
on our own code; any of them may round differently after an upgrade. So a data set, a bundle and a prediction table
record what the installed decoder makes of the golden images in `golden/`: a file of each kind, decoded by three
policies. Two decoders with one fingerprint are taken for the same, whatever their versions; AVIF and HEIC have no
golden image, since their decoders round differently from processor to processor, and another image would give every
decoder another fingerprint.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

from PIL import features
from pydantic import BaseModel, ConfigDict

from darkroom.data.errors import ImageError, InputError, WorkError
from darkroom.data.files.hashing import content_version
from darkroom.data.files.provenance import LibraryVersion
from darkroom.data.images.decode import decode
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.settings import DecoderMismatch

logger = logging.getLogger(__name__)

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_POLICIES: Mapping[str, DecodePolicy] = MappingProxyType(
    {
        "stretch": DecodePolicy(),
        "pad": DecodePolicy(image_size=(40, 56), resize="pad", interpolation="bicubic", background=(10, 200, 90)),
        "crop": DecodePolicy(image_size=(32, 24), resize="crop", interpolation="lanczos", scaled_jpeg=False),
    }
)
_PACKAGES = ("pillow", "pi-heif", "simplejpeg", "cykooz-resizer", "numpy")
_IN_PILLOW = ("libjpeg_turbo", "webp", "libtiff")


class Decoder(BaseModel):
    """A decoder, as the cards of data sets and bundles and the plans of ingests and scorings record it.

    Attributes:
        fingerprint: 12 hex digits: a hash of the golden images as it decodes them.
        packages: What it consists of, for messages only; libraries bundled with Pillow are named `pillow/…`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    packages: tuple[LibraryVersion, ...]

    def is_same(self, found: Decoder | None) -> bool:
        """Whether `found` is known to give the same pixels; None stands for a decoder that was not recorded."""
        return found is not None and found.fingerprint == self.fingerprint

    def is_other(self, found: Decoder | None) -> bool:
        """Whether `found` is known to give other pixels."""
        return found is not None and found.fingerprint != self.fingerprint

    def __str__(self) -> str:
        packages = ", ".join(f"{package.name} {package.version}" for package in self.packages)
        return f"{self.fingerprint} ({packages or 'the same package versions'})"


@cache
def decoder() -> Decoder:
    """The installed decoder. The first call in a process decodes the golden images, in some 15 ms."""
    return Decoder(fingerprint=content_version(golden_hashes()), packages=_packages())


def golden_hashes() -> dict[str, dict[str, str]]:
    """SHA-256 of each golden image's pixels, `uint8[H, W, 3]`, by file name and policy; or why there are none."""
    return {
        path.name: {name: _pixel_hash(path.read_bytes(), policy) for name, policy in GOLDEN_POLICIES.items()}
        for path in sorted(GOLDEN.iterdir())
    }


def settle_mismatch(
    subject: str, found: Decoder | None, used: Decoder | None, rule: DecoderMismatch, then: str
) -> bool:
    """Whether two decoders are known to differ; where they do, say so or refuse.

    Args:
        subject: What `found` decoded, as the start of a sentence: "The training images of cats@1a2b were".
        found: Its decoder; None where it was not recorded, which is no mismatch.
        used: The decoder of what the subject is used with, usually `decoder()`; None as for `found`.
        rule: `warn` logs a warning, `strict` refuses.
        then: What happens under `warn`, as the end of a sentence: "all files are decoded again".

    Raises:
        InputError: where they differ and the rule is `strict`.
    """
    if found is None or used is None or not used.is_other(found):
        return False
    theirs, ours = _without_shared(found, used), _without_shared(used, found)
    said = f"{subject} decoded by {theirs}, not by {ours}, which gives different pixels"
    if rule == "strict":
        raise InputError(
            f"{said}. Install the packages named first, or set DARKROOM_DECODER_MISMATCH=warn: then {then}."
        )
    logger.warning("%s: %s. To keep the pixels as they were, install the packages named first.", said, then)
    return True


def require_decoder(planned: Decoder | None) -> None:
    """Refuse to take part in a run that was planned with another decoder, as on a worker set up differently.

    Args:
        planned: The decoder of the plan; None where the plan names none.

    Raises:
        WorkError: where the installed decoder gives other pixels.
    """
    if decoder().is_other(planned):
        raise WorkError(
            f"This run was planned with the decoder {planned}, and this worker has {decoder()}, which gives other "
            "pixels. Install the same packages on all workers, and run the same command again."
        )


def _without_shared(one: Decoder, other: Decoder) -> Decoder:
    """The first decoder with those of its packages alone that the other has not, or has in another version."""
    return one.model_copy(update={"packages": tuple(each for each in one.packages if each not in other.packages)})


def _pixel_hash(data: bytes, policy: DecodePolicy) -> str:
    try:
        pixels = decode(data, policy)
    except ImageError as error:  # a decoder built without a format is another decoder
        return error.reason
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def _packages() -> tuple[LibraryVersion, ...]:
    found = []
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(LibraryVersion(name=name, version=version(name)))
    for name in _IN_PILLOW:
        number = features.version(name)
        if number:
            found.append(LibraryVersion(name=f"pillow/{name}", version=number))
    return tuple(found)
