"""Features of a frozen backbone, computed once and cached beside the data set's version.

`datasets/<name>/<version>/features/<key>/`: for each shard `<shard>.npz` with `features float32[N, F]`,
`labels int32[N]` (`float32[N, K]` where an image may have several) and `keys S64[N]` (SHA-256 of the stored image,
hex), rows in the shard's order; `backbone.onnx`, what computed them. The key is a hash of the backbone's name, weights
and code version; the image size is the data set's.

Images that another version of the data set has features of are not run through the backbone again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import FormatError
from darkroom.data.figures import count
from darkroom.data.files.atomic import atomic_file
from darkroom.data.files.hashing import content_version
from darkroom.data.shards.records import Record
from darkroom.data.shards.shards import read_shard
from darkroom.data.task import Truth
from darkroom.models.networks.architectures import build_backbone
from darkroom.models.npz import read_arrays, write_arrays
from darkroom.models.onnx.inference import stored_batches
from darkroom.models.onnx.runtime import OnnxRunner, export_onnx
from darkroom.models.training.feature_reuse import BACKBONE, KEY_DTYPE, find_known, forget_known, take_known

logger = logging.getLogger(__name__)

CODE_VERSION = 2
_BATCH = 32


@dataclass(frozen=True)
class FeatureCounts:
    """What became of one shard's images.

    Attributes:
        num_computed: Images whose features were computed.
        num_known: Images whose features were reused from another version.
    """

    num_computed: int
    num_known: int


def features_folder(dataset: Dataset, network: str, weights: str) -> Path:
    """The folder of a data set's features under a backbone: one per architecture, weights and code version.

    Args:
        dataset: The data set.
        network: The backbone's name.
        weights: `imagenet` or `none`.
    """
    return dataset.folder / "features" / f"{network}-{content_version(CODE_VERSION, network, weights)}"


def prepare_backbone(dataset: Dataset, network: str, weights: str) -> Path:
    """Export the backbone once, and find which features other versions of the data set hold.

    Args:
        dataset, network, weights: As for `features_folder`.

    Returns:
        The features' folder.
    """
    folder = features_folder(dataset, network, weights)
    export_backbone(folder / BACKBONE, network, dataset.card.policy.image_size, weights)
    files = [_file(folder, shard.file) for shard in dataset.card.shards if shard.split != "test"]
    done = sum(file.is_file() for file in files)
    if done < len(files):
        find_known(folder)
    logger.info("Features of %s with %s: %d of %d shards done.", dataset.reference, network, done, len(files))
    return folder


def export_backbone(path: Path, network: str, image_size: tuple[int, int], weights: str = "imagenet") -> None:
    """Write a backbone as ONNX, `uint8[N, H, W, 3]` to `float32[N, F]`, whole or not at all; an existing file is kept.

    Args:
        path: The file.
        network: The backbone's name.
        image_size: (height, width) in pixels.
        weights: `imagenet` or `none`.
    """
    if not path.is_file():
        with atomic_file(path) as temporary:
            export_onnx(build_backbone(network, image_size, weights), temporary)


def extract_features(dataset: Dataset, folder: Path, shard: str) -> FeatureCounts:
    """Compute and store the features of one shard; an existing file is kept.

    Args:
        dataset: The data set.
        folder: What `prepare_backbone` returned.
        shard: The shard's file name in the card.

    Raises:
        FormatError: where the shard is damaged.
    """
    final = _file(folder, shard)
    if final.is_file():
        return FeatureCounts(0, 0)
    path = dataset.folder / shard
    facts = [(_key(record), record.indices) for record in read_shard(path, dataset.labels)]
    keys = np.array([key for key, _ in facts], KEY_DTYPE)
    rows = take_known(folder, keys)
    num_known = len(rows)
    if num_known < len(facts):
        runner = OnnxRunner(folder / BACKBONE)
        new = [place for place in range(len(facts)) if place not in rows]
        records = (record for place, record in enumerate(read_shard(path, dataset.labels)) if place not in rows)
        computed = [runner(images) for images, _ in stored_batches(records, _BATCH, dataset.labels)]
        rows |= zip(new, chain.from_iterable(computed), strict=True)
    write_arrays(
        final,
        features=np.stack([rows[place] for place in range(len(facts))]),
        labels=dataset.labels.truth(indices for _, indices in facts),
        keys=keys,
    )
    return FeatureCounts(len(facts) - num_known, num_known)


def finish_features(dataset: Dataset, folder: Path, counts: Sequence[FeatureCounts]) -> None:
    """Log how many images were computed, and forget what other versions lent.

    Args:
        dataset: The data set.
        folder: What `prepare_backbone` returned.
        counts: One per shard.
    """
    forget_known(folder)
    computed, known = (sum(getattr(each, name) for each in counts) for name in ("num_computed", "num_known"))
    if computed or known:
        logger.info(
            "Features of %s: %s computed, %s reused from other versions.",
            dataset.reference,
            count(computed, "image"),
            f"{known:,}",
        )


def load_features(dataset: Dataset, folder: Path, split: str) -> tuple[NDArray[np.float32], Truth]:
    """The features of a split, all at once: 5 KiB per image with 1,280 features.

    Args:
        dataset: The data set.
        folder: What `prepare_backbone` returned.
        split: `train` or `validation`.

    Returns:
        `features float32[N, F]` and `labels int32[N]` (`float32[N, K]` where an image may have several), in the order
        of the split's shards.

    Raises:
        FormatError: where a shard's features are missing or damaged, or not one per image.
    """
    parts = []
    for shard in dataset.card.shards:
        if shard.split == split:
            file = _file(folder, shard.file)
            features, labels = read_arrays(file, ("features", "labels"), f"Remove {folder} and train again.")
            if not len(features) == len(labels) == shard.num_rows:
                raise FormatError(
                    f"{file} holds features of {len(features)} images, its shard has {shard.num_rows}. "
                    f"Remove {folder} and train again."
                )
            parts.append((features, labels))
    return np.concatenate([features for features, _ in parts]), np.concatenate([labels for _, labels in parts])


def _key(record: Record) -> bytes:
    return hashlib.sha256(record.encoded).hexdigest().encode()


def _file(folder: Path, shard: str) -> Path:
    return folder / f"{Path(shard).name}.npz"
