"""The training profile on disk: `profile/` in a bundle's folder, a file beside those that make the model.

`profile.json`, the card, written last; `samples.npz`, the arrays of `Samples` and, where the network gives embeddings,
of `Familiarity`, by these names: `widths`, `heights`, `brightness`, `confidences`, `predicted`, `right`,
`unfamiliarity`, `embeddings`, `mean`, `directions`, `spread`, `rest`. Neither enters the model's version, and
`bundle.json` says nothing of them. A profile may come from somebody else, as the bundle may: all of it is checked
before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from darkroom.data.errors import FormatError
from darkroom.data.files.atomic import atomic_folder, write_json
from darkroom.data.files.cards import FIRST_ERROR, FileFact, check_file, check_plain, read_card
from darkroom.data.files.hashing import content_version, file_sha256
from darkroom.models.npz import read_arrays, write_arrays
from darkroom.models.onnx.runtime import Engine
from darkroom.models.profile.familiarity import LEAST_SPREAD, MAX_DIRECTIONS, MAX_NUMBERS, Familiarity, Vectors

SCHEMA_VERSION = 1
FOLDER, CARD, SAMPLES = "profile", "profile.json", "samples.npz"
# Images of a split that a profile keeps facts of; that many training images also tell what is familiar.
MAX_IMAGES = 1000
_MAX_BYTES = 2**25
_MAX_CARD_VALUES = 1_000_000
_REMEDY = "Remove that folder to score without the columns unfamiliarity and unfamiliar, or restore it."

Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^\P{Cc}*$")]
Count = Annotated[int, Field(ge=0, le=10**12)]
Distance = Annotated[float, Field(gt=0)]


class ImageCount(BaseModel):
    """A number of images.

    Attributes:
        name: The label or format that they share.
        num_images: How many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    num_images: Count


class FamiliarityFacts(BaseModel):
    """From which distance on an image is unfamiliar: see `darkroom.models.profile.familiarity`.

    Attributes:
        embedding_size: Numbers in an embedding.
        num_directions: Directions in which a distance is counted.
        limit: Of the distance, in the network of fp32.
        int8_limit: Of the distance, in the network of int8; None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    embedding_size: int = Field(ge=1, le=2**20)
    num_directions: int = Field(ge=1, le=MAX_DIRECTIONS)
    limit: Distance
    int8_limit: Distance | None = None


class TrainingProfile(BaseModel):
    """The card of a profile: facts of the images that a model was trained on.

    Attributes:
        dataset: `name@version` of the data set.
        num_training: Training images, copies not counted.
        num_validation: Validation images.
        labels: Training images by label, in the order of the label map; an image counts for each of its labels.
        predicted: Validation images by the label that the model gives them, likewise.
        formats: Training images by the format of their file, in alphabetical order.
        familiarity: None where nothing can be said of what is familiar.
        refused: Why that is so; None where it is not.
        files: `samples.npz`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    dataset: Text
    num_training: Count
    num_validation: Count
    labels: Annotated[tuple[ImageCount, ...], FIRST_ERROR]
    predicted: Annotated[tuple[ImageCount, ...], FIRST_ERROR]
    formats: Annotated[tuple[ImageCount, ...], FIRST_ERROR] = Field(max_length=1000)
    familiarity: FamiliarityFacts | None
    refused: Text | None
    files: tuple[FileFact, ...] = Field(default=(), max_length=1)


@dataclass(frozen=True)
class Samples:
    """Facts of single images: of the first 1,000 of a split in shard order, which is that of a hash of their paths.

    Attributes:
        widths, heights: `int32[N]`, of the files of training images, in pixels.
        brightness: `float32[N]`, of the same images: mean luminance, 0 to 255, see
            `darkroom.data.quality.pixel_statistics`.
        confidences: `float32[M]`, of validation images, as a prediction table has them.
        predicted: `int32[M]`, the place in the label map of the label that the model gives them; empty where an image
            may have several labels.
        right: `bool[M]`, whether their label, or each of their labels, is right.
        unfamiliarity: `float32[M]`, of the same images, as a prediction table has it; empty where nothing is said of
            it.
        embeddings: `float32[L, D]`, of the first L of them, as many as `MAX_NUMBERS` allows; `[0, 0]` where the network
            gives none.
    """

    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    brightness: NDArray[np.float32]
    confidences: NDArray[np.float32]
    predicted: NDArray[np.int32]
    right: NDArray[np.bool_]
    unfamiliarity: NDArray[np.float32]
    embeddings: Vectors


@dataclass(frozen=True)
class Profile:
    """A profile that was read, and checked.

    Attributes:
        card: Its card.
        samples: Facts of single images.
        familiarity: What is familiar; None where the card says why not.
    """

    card: TrainingProfile
    samples: Samples
    familiarity: Familiarity | None

    @cached_property
    def version(self) -> str:
        """A hash of what unfamiliarity depends on, 12 hex digits."""
        return content_version(self.card.model_dump(mode="json", include={"familiarity", "files"}))

    def unfamiliarity(self, embeddings: Vectors, engine: Engine) -> NDArray[np.float32]:
        """The distance of each embedding from the training images, divided by the limit: `float32[N]`.

        It is above 1 where the image is unfamiliar, and the largest float32 where an embedding is not finite.

        Args:
            embeddings: `float32[N, D]`.
            engine: What ran the network.

        Raises:
            ValueError: where nothing can be said of what is familiar.
        """
        facts = self.card.familiarity
        if facts is None or self.familiarity is None:
            raise ValueError(self.card.refused)
        limit = facts.int8_limit if engine == "int8" and facts.int8_limit else facts.limit
        finite = np.asarray(np.isfinite(embeddings).all(axis=1))
        found = self.familiarity.distances(np.where(finite[:, None], embeddings, np.float32(0))) / limit
        most = np.finfo(np.float32).max
        return np.where(finite, np.minimum(found, most), most).astype(np.float32)


def write_profile(bundle: Path, card: TrainingProfile, samples: Samples, familiarity: Familiarity | None) -> Profile:
    """Write a profile into a bundle's folder, whole or not at all; the same content gives the same bytes.

    Args:
        bundle: The bundle's folder.
        card: The card; what it says of its file is not used.
        samples: Facts of single images.
        familiarity: What is familiar; None where nothing can be said of it.

    Returns:
        The profile, with its file in the card.
    """
    more = asdict(familiarity) if familiarity else {}
    with atomic_folder(bundle / FOLDER) as temporary:
        write_arrays(temporary / SAMPLES, **asdict(samples), **more)
        whole = card.model_copy(update={"files": (FileFact.of(temporary, SAMPLES),)})
        write_json(temporary / CARD, whole.model_dump(mode="json"))
    return Profile(whole, samples, familiarity)


def has_profile(bundle: Path) -> bool:
    """Whether a bundle's folder has a profile.

    Args:
        bundle: The bundle's folder.
    """
    return (bundle / FOLDER / CARD).exists()


def why_unfamiliarity_is_not_told(bundle: Path, name: str) -> str:
    """Why scoring with a bundle does not tell which images are unfamiliar, and what to do about it, in words.

    Args:
        bundle: The bundle's folder.
        name: What to call the model.
    """
    found = read_profile(bundle)
    if found is None:
        return f"{name} has no training profile. Where its data set is at hand, darkroom evaluate {name} adds one"
    return f"{name} cannot tell, since {found.card.refused}"


def read_profile(bundle: Path) -> Profile | None:
    """Read the profile in a bundle's folder.

    Args:
        bundle: The bundle's folder.

    Returns:
        None where it has none: it was published by an earlier Darkroom, or is the ready-made one.

    Raises:
        FormatError: where the profile is damaged, too large, not of the form described above, or a link.
    """
    folder = bundle / FOLDER
    if not has_profile(bundle):
        return None
    check_plain(bundle, folder / CARD)
    card = read_card(folder / CARD, TrainingProfile, SCHEMA_VERSION, _REMEDY, _MAX_CARD_VALUES)
    path = folder / SAMPLES
    if [fact.file for fact in card.files] != [SAMPLES]:
        raise FormatError(f"{folder / CARD} does not list {SAMPLES}. {_REMEDY}")
    check_file(folder, card.files[0])
    if card.files[0].bytes > _MAX_BYTES:
        raise FormatError(f"{path} has more than {_MAX_BYTES:,} bytes: refused. {_REMEDY}")
    if file_sha256(path) != card.files[0].sha256:
        raise FormatError(f"{path} is not the file that {CARD} lists: it was changed. {_REMEDY}")
    samples = Samples(*read_arrays(path, tuple(Samples.__dataclass_fields__), _REMEDY))
    found = read_arrays(path, tuple(Familiarity.__dataclass_fields__), _REMEDY) if card.familiarity else None
    wrong = [name for name, is_right in _checks(card, samples, found) if not is_right]
    if wrong:
        raise FormatError(f"{path} is no training profile: its {wrong[0]} cannot be what the card says. {_REMEDY}")
    familiarity = Familiarity(found[0], found[1], found[2], float(found[3])) if found else None
    return Profile(card, samples, familiarity)


def _checks(card: TrainingProfile, samples: Samples, found: list[NDArray[Any]] | None) -> Iterator[tuple[str, bool]]:
    """Each array's name, and whether it is of the type, the shape and the range that it must be of."""
    num_training, num_validation = len(samples.widths), len(samples.confidences)
    facts = card.familiarity
    yield "widths", _is_array(samples.widths, np.int32, (min(num_training, MAX_IMAGES),), (1, np.inf))
    yield "heights", _is_array(samples.heights, np.int32, (num_training,), (1, np.inf))
    yield "brightness", _is_array(samples.brightness, np.float32, (num_training,), (0, 255))
    yield "confidences", _is_array(samples.confidences, np.float32, (min(num_validation, MAX_IMAGES),), (0, 1))
    num_predicted = num_validation if samples.predicted.shape != (0,) else 0
    yield "predicted", _is_array(samples.predicted, np.int32, (num_predicted,), (0, len(card.predicted) - 1))
    yield "right", _is_array(samples.right, np.bool_, (num_validation,), (0, 1))
    shape = (num_validation if facts else 0,)
    yield "unfamiliarity", _is_array(samples.unfamiliarity, np.float32, shape, (0, np.inf))
    size = facts.embedding_size if facts else samples.embeddings.shape[-1] if samples.embeddings.ndim else 0
    num_embeddings = min(len(samples.embeddings) if samples.embeddings.ndim else 0, num_validation)
    fits = num_embeddings * size <= MAX_NUMBERS
    yield "embeddings", fits and _is_array(samples.embeddings, np.float32, (num_embeddings, size), (-np.inf, np.inf))
    if facts and found:
        mean, directions, spread, rest = found
        yield "mean", _is_array(mean, np.float32, (facts.embedding_size,), (-1, 1))
        yield "directions", _is_array(directions, np.float32, (facts.num_directions, facts.embedding_size), (-1, 1))
        yield "spread", _is_array(spread, np.float64, (facts.num_directions,), (LEAST_SPREAD, 2))
        yield "rest", _is_array(rest, np.float64, (), (LEAST_SPREAD, 2))


def _is_array(array: NDArray[Any], kind: Any, shape: tuple[int, ...], between: tuple[float, float]) -> bool:
    """Whether an array is of a type and a shape, and its values are finite and within bounds."""
    if array.dtype != kind or array.shape != shape:
        return False
    return bool(np.isfinite(array).all() and (array >= between[0]).all() and (array <= between[1]).all())
