"""From a data set and its trained network to the training profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.dataset.manifest import OK
from darkroom.data.images.decode import decode_stored
from darkroom.data.quality.pixel_statistics import pixel_statistics
from darkroom.data.shards.records import Record
from darkroom.data.task import Truth
from darkroom.models.multi_label.answers import Answers
from darkroom.models.onnx.inference import stored_batches
from darkroom.models.onnx.runtime import Runner
from darkroom.models.profile.familiarity import MAX_NUMBERS, Familiarity, Vectors, fit_familiarity, limit_of
from darkroom.models.profile.profile import (
    MAX_IMAGES,
    FamiliarityFacts,
    ImageCount,
    Profile,
    Samples,
    TrainingProfile,
    write_profile,
)

_BATCH = 32
# Of the embeddings from which it is fitted; in float64 they take 256 MiB.
_MAX_FITTED = 2**25


@dataclass
class Seen:
    """What a network gives for the validation images, taken down batch by batch.

    Attributes:
        familiarity: By which distances are measured; None for none.
        distances: Of each image.
        embeddings: Of the first images.
        is_finite: Whether no embedding had NaN or infinity in it.
    """

    familiarity: Familiarity | None
    distances: list[NDArray[np.float64]] = field(default_factory=list)
    embeddings: list[Vectors] = field(default_factory=list)
    is_finite: bool = True

    def __call__(self, embeddings: Vectors) -> None:
        """Take down a batch.

        Args:
            embeddings: `float32[N, D]`.
        """
        self.is_finite = self.is_finite and bool(np.isfinite(embeddings).all())
        if self.familiarity is not None and self.is_finite:
            self.distances.append(self.familiarity.distances(embeddings))
        room = min(MAX_IMAGES, MAX_NUMBERS // embeddings.shape[1]) - sum(map(len, self.embeddings))
        if room > 0:
            self.embeddings.append(embeddings[:room])

    @property
    def limit(self) -> float | None:
        """The distance from which on an image is unfamiliar; None where nothing can be said of it."""
        return limit_of(np.concatenate(self.distances)) if self.distances and self.is_finite else None


@dataclass(frozen=True)
class ValidationFacts:
    """What a model says of the validation images.

    Attributes:
        chances: `float64[N, K]`, its calibrated probabilities.
        truth: `int32[N]`, or where an image may have several labels, `float32[N, K]`.
        answers: How it answers.
        seen: The embeddings; None where the network gives none.
        int8: The same of the network of int8; None where there is none.
    """

    chances: NDArray[np.float64]
    truth: Truth
    answers: Answers
    seen: Seen | None
    int8: Seen | None = None


def familiarity_of(dataset: Dataset, runner: Runner) -> Familiarity | None:
    """What training images have in common, by their embeddings; None where that cannot be told, or there are none.

    Args:
        dataset: What was trained on.
        runner: The network of fp32.
    """
    if runner.embedding_size is None:
        return None
    records = islice(_originals(dataset), max(1, min(MAX_IMAGES, _MAX_FITTED // runner.embedding_size)))
    found = [runner.with_embeddings(images)[1] for images, _ in stored_batches(records, _BATCH, dataset.labels)]
    embeddings = np.concatenate(found)
    return fit_familiarity(embeddings) if np.isfinite(embeddings).all() else None


def seen_by(runner: Runner, familiarity: Familiarity | None) -> Seen | None:
    """What takes down the embeddings of a network; None where it gives none.

    Args:
        runner: The network.
        familiarity: By which distances are measured; None for none.
    """
    return None if runner.embedding_size is None else Seen(familiarity)


def make_profile(bundle: Path, dataset: Dataset, validation: ValidationFacts) -> Profile:
    """Write the profile of a data set into a bundle's folder.

    Args:
        bundle: The bundle's folder, or what will be it.
        dataset: What was trained on.
        validation: What the model says of its validation images.
    """
    seen = validation.seen
    limit = seen.limit if seen else None
    familiarity = seen.familiarity if seen and limit else None
    facts = None
    if familiarity and limit:
        num_directions, size = familiarity.directions.shape
        int8 = validation.int8.limit if validation.int8 else None
        facts = FamiliarityFacts(embedding_size=size, num_directions=num_directions, limit=limit, int8_limit=int8)
    training = dataset.manifest("path", "split", "status", "format", "width", "height", "mean_luminance").filter(
        (pc.field("split") == "train") & (pc.field("status") == OK)
    )
    names = dataset.card.labels
    given = Counter(place for places in validation.answers.given(validation.chances) for place in places)
    card = TrainingProfile(
        dataset=dataset.reference,
        num_training=dataset.card.num_images("train"),
        num_validation=len(validation.chances),
        labels=_counts(zip(names, dataset.card.class_counts("train"), strict=True)),
        predicted=_counts((name, given[place]) for place, name in enumerate(names)),
        formats=_counts(sorted(Counter(training["format"].drop_null().to_pylist()).items())),
        familiarity=facts,
        refused=None if facts else _refused(seen),
    )
    return write_profile(bundle, card, _samples(dataset, training, validation, limit), familiarity)


def _refused(seen: Seen | None) -> str:
    if seen is None:
        return "its network gives no embeddings"
    if not seen.is_finite:
        return "its network gives NaN or infinity in embeddings"
    return "its training images are too few, or have all the same embedding"


def _samples(dataset: Dataset, training: pa.Table, validation: ValidationFacts, limit: float | None) -> Samples:
    outcome = validation.answers.outcome(validation.chances, validation.truth)
    predicted = [places[0] for places in validation.answers.given(validation.chances[:MAX_IMAGES]) if places]
    seen = validation.seen
    distances = np.concatenate(seen.distances)[:MAX_IMAGES] if seen and limit else np.empty(0)
    embeddings = np.concatenate(seen.embeddings) if seen and seen.is_finite else np.empty((0, 0), np.float32)
    sizes = list(_sizes(dataset, training))
    return Samples(
        widths=np.array([width for width, _, _ in sizes], np.int32),
        heights=np.array([height for _, height, _ in sizes], np.int32),
        brightness=np.array([brightness for _, _, brightness in sizes], np.float32),
        confidences=outcome.stored_confidence[:MAX_IMAGES],
        predicted=np.array(predicted if dataset.card.task == "single-label" else [], np.int32),
        right=np.asarray(outcome.right[:MAX_IMAGES], np.bool_),
        unfamiliarity=(distances / (limit or 1.0)).astype(np.float32),
        embeddings=embeddings,
    )


def _sizes(dataset: Dataset, training: pa.Table) -> Iterator[tuple[int, int, float]]:
    """Width and height in the file, and brightness, of the first training images in shard order."""
    records = list(islice(_originals(dataset), MAX_IMAGES))
    wanted = training.filter(pc.is_in(training["path"], pa.array([record.path for record in records])))
    rows = {row["path"]: row for row in wanted.to_pylist()}
    for record in records:
        row = rows[record.path]
        brightness = row["mean_luminance"]
        if brightness is None:  # the manifest is of an earlier Darkroom
            brightness = pixel_statistics(decode_stored(record.encoded), dataset.card.policy).mean_luminance
        yield row["width"], row["height"], brightness


def _originals(dataset: Dataset) -> Iterator[Record]:
    """The training images in shard order without their copies."""
    return (record for record in dataset.records("train") if record.copy == 0)


def _counts(pairs: Iterable[tuple[str, int]]) -> tuple[ImageCount, ...]:
    return tuple(ImageCount(name=name, num_images=number) for name, number in pairs)
