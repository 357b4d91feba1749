"""Suspected label errors: images whose label a network that never saw them finds implausible.

Features of a frozen backbone, a logistic regression that checks each image out of fold, and confident learning
(Northcutt, Jiang, Chuang 2021, arXiv:1911.00068, by its authors' library cleanlab): what counts as confident is
measured for each class, so that a class which is hard, or that the regression favours, is not listed as a whole.

`<part>.npz` holds `features float32[N, F]`, `paths` and `sha256` (str[N]) and `labels int32[N]`, or `float32[N, K]`
where an image may have several (`multi_label_errors.py`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.figures import count
from darkroom.data.images.decode import decode_stored
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.parallel import num_cpus, ordered_map
from darkroom.data.shards.records import Record
from darkroom.data.shards.shards import read_shard
from darkroom.data.task import TaskName
from darkroom.models.measures.intervals import Frozen
from darkroom.models.npz import read_arrays, write_arrays
from darkroom.models.onnx.runtime import OnnxRunner
from darkroom.models.training.features import export_backbone

logger = logging.getLogger(__name__)

NETWORK = "efficientnet-lite0"
# Whatever the data set's own size: the backbone was trained on photographs, and says little of 32 x 32 pixels.
_IMAGE_SIZE = (160, 160)
_BATCH = 32
NUM_FOLDS = 5
# Divided by the root of the number of images: 0.001 for 2,800. Chosen on cats and dogs with 3 % planted errors, and on
# chest X-rays, CIFAR-10 and galaxies. Less regularization learns the wrong labels too: on cats and dogs the precision
# is 0.50 with 1, 0.78 with 0.01, 0.87 with 0.001.
_REGULARIZATION = 0.05
# The suggested label is this many times as probable as the given one. Where classes overlap (galaxies: 70 % out of
# fold), confident learning alone suspects 18 % of clean labels, with this 5 %; on cats and dogs it raises the precision
# from 0.87 to 0.95 and finds as many.
_TIMES_AS_PROBABLE = 5.0


class LabelError(Frozen):
    """An image that may have the wrong label.

    Attributes:
        path: As in the manifest.
        label: As given.
        suggested: The class that the network finds most probable.
        score: Probability of `label`: the lower, the more suspect.
        suggested_probability: Probability of `suggested`.
        labels: All labels as given, of an image that may have several; None for one label.
        doubted: Those labels, given or missing, that are suspect, with the probability that the image has each; () for
            one label.
    """

    path: str
    label: str
    suggested: str
    score: float
    suggested_probability: float
    labels: tuple[str, ...] | None = None
    doubted: tuple[tuple[str, float], ...] = ()

    @property
    def task(self) -> TaskName:
        """Whether the image may have several labels."""
        return "single-label" if self.labels is None else "multi-label"

    @property
    def given_labels(self) -> tuple[str, ...]:
        """All labels as given."""
        return (self.label,) if self.labels is None else self.labels

    @property
    def suggested_labels(self) -> tuple[str, ...]:
        """All labels as suggested, sorted."""
        if self.labels is None:
            return (self.suggested,)
        return tuple(sorted(set(self.labels).symmetric_difference(label for label, _ in self.doubted)))


class LabelErrors(Frozen):
    """What was checked, and what was found.

    Attributes:
        num_images: Images checked; those of classes with fewer than five images are not, nor those beyond the limit
            that was asked for.
        accuracy: Share of them whose label the network predicts; None where none was checked. Where it is low, the
            classes are hard to tell apart and a suspicion says little.
        num_suspected: Suspected errors in all.
        suspected: The first of them, most suspect first.
    """

    num_images: int
    accuracy: float | None
    num_suspected: int
    suspected: tuple[LabelError, ...]


@dataclass(frozen=True)
class Judged:
    """Images whose labels are to be checked.

    Attributes:
        features: `float32[N, F]`.
        labels: `int32[N]`, or `float32[N, K]` of 0 and 1 where an image may have several.
        paths: N paths, as in the manifest.
        sha256: N hashes of the source files, hex.
    """

    features: NDArray[np.float32]
    labels: NDArray[Any]

    @property
    def contents(self) -> NDArray[np.int64]:
        """`int64[N]`, the same number for copies of one file."""
        found: NDArray[np.int64] = np.unique(np.array(self.sha256, np.str_), return_inverse=True)[1]
        return found

    paths: tuple[str, ...]
    sha256: tuple[str, ...]


def export_judge(path: Path) -> None:
    """Write the backbone on whose features labels are checked, as ONNX; an existing file is kept."""
    export_backbone(path, NETWORK, _IMAGE_SIZE)


def extract_features(shards: Sequence[Path], labels: LabelMap, backbone: Path, share: float, path: Path) -> None:
    """Write the features of the images in some shards to `path`; an existing file is kept.

    Args:
        shards: Augmented copies in them are skipped.
        labels: Of the shards.
        backbone: As `export_judge` wrote it.
        share: Of the images, chosen by their hashes: the same images whatever else is in the data set.
        path: The `.npz` file.
    """
    if path.is_file():
        return
    runner = OnnxRunner(backbone)
    wanted = (
        record
        for shard in shards
        for record in read_shard(shard, labels)
        if record.copy == 0 and int(record.sha256[:8], 16) < share * 2**32
    )
    chosen: list[tuple[str, str, tuple[int, ...]]] = []
    features = [np.zeros((0, runner.num_outputs), np.float32)]
    for records, images in _batches(wanted):
        features.append(runner(images))
        chosen += [(record.path, record.sha256, record.indices) for record in records]
    write_arrays(
        path,
        features=np.concatenate(features),
        paths=np.array([name for name, _, _ in chosen], np.str_),
        sha256=np.array([sha256 for _, sha256, _ in chosen], np.str_),
        labels=labels.truth(indices for _, _, indices in chosen),
    )


def load_judged(files: Sequence[Path]) -> Judged:
    """The images of several files that `extract_features` wrote, 5 KiB of memory each.

    Raises:
        FormatError: where a file is missing or damaged.
    """
    parts = [read_arrays(file, ("features", "labels", "paths", "sha256")) for file in files]
    features, labels, paths, sha256 = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Judged(features, labels, tuple(paths.tolist()), tuple(sha256.tolist()))


def find_label_errors(judged: Judged, labels: LabelMap, max_listed: int = 1000) -> LabelErrors:
    """List the images whose label a regression fitted without them finds implausible.

    Args:
        judged: N images; duplicates of a file are never on both sides of a fold.
        labels: Names of the indices in `judged.labels`.
        max_listed: Suspects to keep; all are counted.
    """
    contents = judged.contents
    rows = _judgeable(judged.labels, contents)
    names, truth = np.unique(judged.labels[rows], return_inverse=True)
    if len(names) < 2:
        return LabelErrors(num_images=0, accuracy=None, num_suspected=0, suspected=())
    probabilities = out_of_fold(judged.features[rows], truth, contents[rows])
    predicted = probabilities.argmax(axis=1)
    given = probabilities[np.arange(len(truth)), truth]
    suspected = suspect(truth, probabilities)
    paths = [judged.paths[row] for row in rows]
    order = sorted(np.flatnonzero(suspected).tolist(), key=lambda place: (given[place], paths[place]))
    logger.info("Checked the labels of %s: %s may be wrong.", count(len(rows), "image"), f"{len(order):,}")
    return LabelErrors(
        num_images=len(rows),
        accuracy=float((predicted == truth).mean()),
        num_suspected=len(order),
        suspected=tuple(
            LabelError(
                path=paths[place],
                label=labels.names[names[truth[place]]],
                suggested=labels.names[names[predicted[place]]],
                score=round(float(given[place]), 4),
                suggested_probability=round(float(probabilities[place].max()), 4),
            )
            for place in order[:max_listed]
        ),
    )


def _batches(records: Iterator[Record]) -> Iterator[tuple[list[Record], NDArray[np.uint8]]]:
    """Records with their pixels `uint8[N, 160, 160, 3]`, decoded by threads, in order."""
    height, width = _IMAGE_SIZE

    def ready(record: Record) -> tuple[Record, NDArray[np.uint8]]:
        pixels = decode_stored(record.encoded)
        if pixels.shape[:2] != _IMAGE_SIZE:
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        return record, pixels

    pairs = ordered_map(ready, records, num_cpus(), window=2 * _BATCH)
    while chunk := list(islice(pairs, _BATCH)):
        yield [record for record, _ in chunk], np.stack([pixels for _, pixels in chunk])


def _judgeable(labels: NDArray[np.int32], contents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the classes that have a different image for every fold."""
    kept = [index for index in np.unique(labels) if len(np.unique(contents[labels == index])) >= NUM_FOLDS]
    return np.flatnonzero(np.isin(labels, kept))


def out_of_fold(
    features: NDArray[np.float32], truth: NDArray[np.int64], contents: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Probabilities `float64[N, C]`, each row by a regression that saw neither the image nor a copy of it.

    Args:
        features: `float32[N, F]`.
        truth: `int64[N]`, classes from 0.
        contents: `int64[N]`, the same number for copies of one file.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = make_pipeline(
        StandardScaler(), LogisticRegression(C=_REGULARIZATION / len(truth) ** 0.5, max_iter=500)
    )
    folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=0)
    found = cross_val_predict(regression, features, truth, groups=contents, cv=folds, method="predict_proba")
    return np.asarray(found, dtype=np.float64)


def suspect(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`bool[N]`: which labels are suspect by class and by noise rate both, and another one far more probable.

    The first two are cleanlab's most careful choice.

    Args:
        truth: `int64[N]`, as given.
        probabilities: `float64[N, C]`, out of fold.
    """
    from cleanlab.filter import find_label_issues

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes in which too few are confident: nothing of theirs is listed
        # One job: its others are forks, which TensorFlow does not survive.
        found = np.asarray(find_label_issues(truth, probabilities, filter_by="both", n_jobs=1), dtype=np.bool_)
    given = probabilities[np.arange(len(truth)), truth]
    found &= probabilities.max(axis=1) > _TIMES_AS_PROBABLE * given
    return found
