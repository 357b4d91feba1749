"""The settings of the commands as keyword arguments: their names, their types, and how they become settings.

`--image-size 160` is `image_size=160`. A test holds that these are the options of the commands, no more and no fewer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pydantic import ValidationError

from darkroom.data.errors import SettingError
from darkroom.flows.options import setting_changes, wrong_setting

if TYPE_CHECKING:
    from darkroom.data.dataset.duplicate_summary import Leaks
    from darkroom.data.shards.shard_names import ShardFormat
    from darkroom.data.task import TaskName
    from darkroom.models.settings import CalibrationMethod, Optimizer

# A path or URL; of data sets and models a name too.
Reference = str | os.PathLike[str]
THREADS: Literal["threads"] = "threads"


class InspectOptions(TypedDict, total=False):
    """How a source is labelled, split and decoded; see `IngestSettings`. `image_size` is a side, or (height, width)."""

    image_size: int | tuple[int, int]
    resize: Literal["stretch", "pad", "crop"]
    interpolation: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]
    window: Literal["auto", "full", "file"] | tuple[int, int]
    task: TaskName
    labels_from: Literal["auto", "folders", "top-folder", "parent-folder", "filename", "csv"]
    labels_csv: str
    label_pattern: str
    path_column: str
    label_column: str
    split_column: str
    class_folder: str | Sequence[str]
    exclude: str | Sequence[str]
    masks: Literal["leave-out", "use"]
    bad_rows: Literal["stop", "leave-out"]
    combined_labels: Literal["stop", "keep"]
    numeric_labels: Literal["stop", "keep"]
    min_class_size: int
    corrections: str | Sequence[str]
    label_separator: str
    empty_labels: Literal["stop", "no-label"]
    validation: float
    test: float
    split_seed: int
    keep_splits: bool
    rows_per_shard: int


class IngestOptions(InspectOptions, total=False):
    """How a data set is made; see `IngestSettings`."""

    format: ShardFormat
    images: Literal["png", "jpeg"]
    copies: int
    copy_augment: str
    max_quarantined_share: float
    leaks: Leaks


class TrainOptions(TypedDict, total=False):
    """How a network is trained; see `TrainSettings`."""

    architecture: str
    weights: Literal["imagenet", "none"]
    epochs: int
    batch_size: int
    optimizer: Optimizer
    learning_rate: float
    schedule: Literal["constant", "cosine"]
    weight_decay: float
    label_smoothing: float
    dropout: float
    augment: str
    mixup: float
    cutmix: float
    class_weights: bool
    patience: int
    fine_tune_layers: int
    fine_tune_epochs: int
    fine_tune_learning_rate: float
    flip_average: bool
    calibration: CalibrationMethod
    min_precision: float
    min_coverage: float
    seed: int
    workers: int


class BlessingOptions(TypedDict, total=False):
    """When a model is good enough; see `BlessingRules`."""

    min_accuracy: float
    min_recall: float
    min_test_images: int
    min_validation_images: int
    min_macro_f1: float
    max_calibration_error: float
    accuracy_margin: float
    recall_margin: float
    calibration_margin: float
    max_possible_loss: float


class RunOptions(IngestOptions, TrainOptions, BlessingOptions, total=False):
    """All settings of a recipe."""


class ServiceOptions(TypedDict, total=False):
    """How a recognition service is asked (docs/versus.md); for `score` with a model such as `cloud:google-vision`."""

    word_map: str
    service_model: str
    classes: list[str]
    price: float
    token_price: tuple[float, float]
    max_requests: int
    max_cost: float
    yes: bool


def changes_of(options: Mapping[str, Any], known: type[Any], function: str) -> dict[str, Any]:
    """Keyword arguments as settings, nested as in a recipe.

    Args:
        options: As given.
        known: The class above that they belong to.
        function: The function that was called with them.

    Raises:
        TypeError: where one is unknown, as Python raises it for any function.
    """
    unknown = next((name for name in options if name not in known.__annotations__), None)
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown!r}")
    return setting_changes({name.replace("_", "-"): _as_typed(value) for name, value in options.items()})


@contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """Turn pydantic's validation errors within the block into one sentence.

    Raises:
        SettingError: naming the keyword argument.
    """
    try:
        yield
    except ValidationError as error:
        raise SettingError(wrong_setting(error, lambda option: option.replace("-", "_"))) from None


def _as_typed(value: Any) -> Any:
    """The value as the command line would give it: a flag as it is, all else as text: `120x160`, `one.csv,two.csv`."""
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, (tuple, list)):
        return str(value)
    return ",".join(value) if all(isinstance(each, str) for each in value) else "x".join(map(str, value))


def text_of(given: Reference | None) -> str | None:
    """A path as text; None stays None."""
    return None if given is None else os.fspath(given)
