"""Reuse of features: what other versions of the data set hold under the same backbone is not computed again.

`known.npz`, in the features' folder while features are extracted: `keys S64[M]`, sorted, the hashes of stored images;
`files str[K]`, relative to the folder of all versions, and `places int32[M, 2]`, file and row of each image's features.

A row depends on the stored image and the backbone alone: the backbone is the same file byte for byte, and ONNX Runtime
gives an image the same features in every batch (a test holds both), so a reused row is the one that would be computed.
A version that was decoded by another decoder lends nothing: its stored JPEGs were read by that one too.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import read_dataset_card
from darkroom.data.errors import FormatError
from darkroom.data.files.hashing import file_sha256
from darkroom.data.images.decoder_fingerprint import Decoder
from darkroom.data.shards.shard_names import SUFFIXES
from darkroom.models.npz import read_arrays, write_arrays

logger = logging.getLogger(__name__)

BACKBONE = "backbone.onnx"
KEY_DTYPE = "S64"


def find_known(folder: Path) -> None:
    """Write down which features other versions of the data set hold.

    Args:
        folder: `<versions>/<version>/features/<key>`, with the backbone in it.
    """
    versions = folder.parents[2]
    sha256, ours = file_sha256(folder / BACKBONE), _decoder_of(folder)
    files: list[str] = []
    keys, places = [], []
    for backbone in sorted(versions.glob(f"[!.]*/features/{folder.name}/{BACKBONE}")):
        if backbone.parent == folder or file_sha256(backbone) != sha256:
            continue
        theirs = _decoder_of(backbone.parent)
        if ours and ours.is_other(theirs):
            told = (backbone.parents[2].name, theirs, ours)
            logger.warning("No features are taken over from version %s: it was decoded by %s, and not by %s.", *told)
            continue
        for file in _files_of_shards(backbone.parent):
            with suppress(FormatError):
                (found,) = read_arrays(file, ("keys",))
                rows = np.arange(len(found), dtype=np.int32)
                places.append(np.stack([np.full_like(rows, len(files)), rows], axis=1))
                keys.append(found.astype(KEY_DTYPE))
                files.append(str(file.relative_to(versions)))
    if files:
        known, first = np.unique(np.concatenate(keys), return_index=True)
        write_arrays(_file(folder), keys=known, files=np.array(files, np.str_), places=np.concatenate(places)[first])


def _files_of_shards(folder: Path) -> list[Path]:
    """The features in a folder, a file for each shard."""
    return [file for suffix in SUFFIXES.values() for file in sorted(folder.glob(f"*{suffix}.npz"))]


def take_known(folder: Path, keys: NDArray[np.bytes_]) -> dict[int, NDArray[np.float32]]:
    """Known features `float32[F]` by position in `keys`; what is damaged or gone by now is left out.

    Args:
        folder: As for `find_known`.
        keys: Hashes of stored images, `S64[N]`.
    """
    try:
        known, files, places = read_arrays(_file(folder), ("keys", "files", "places"))
    except FormatError:
        return {}
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    found = np.flatnonzero(known[at] == keys)
    taken: dict[int, NDArray[np.float32]] = {}
    for number in np.unique(places[at[found], 0]).tolist():
        with suppress(FormatError):
            (features,) = read_arrays(folder.parents[2] / str(files[number]), ("features",))
            here = found[places[at[found], 0] == number]
            taken |= dict(zip(here.tolist(), features[places[at[here], 1]], strict=True))
    return taken


def forget_known(folder: Path) -> None:
    """Remove what `find_known` wrote, once all features are there."""
    _file(folder).unlink(missing_ok=True)


def _decoder_of(folder: Path) -> Decoder | None:
    """The decoder of the data set that a folder of features belongs to; None where its card does not name it."""
    try:
        return read_dataset_card(folder.parents[1]).decoder
    except FormatError:
        return None


def _file(folder: Path) -> Path:
    return folder / "known.npz"
