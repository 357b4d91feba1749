"""The model bundle: everything needed to score, in one folder.

`models/<name>/<version>/`: `model.keras` (loaded in Keras's safe mode only), `model.onnx` (the same network, its parity
checked at export; `models/onnx/metadata.py` says what its outputs are called), `model.int8.onnx` (the same quantized,
where that can be done), and `bundle.json`, written last, with labels, decode policy, calibration, threshold, whether
scoring takes int8, training settings and history, the data set's version, and size and SHA-256 of each file.
`profile/`, beside them, says what the training images are like; `report/` is added by evaluation.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from darkroom.data.errors import FormatError, InputError, SettingError
from darkroom.data.files.atomic import write_json
from darkroom.data.files.cards import FIRST_ERROR, FileFact, check_file, check_plain, read_card
from darkroom.data.files.hashing import file_sha256
from darkroom.data.files.provenance import LibraryVersion
from darkroom.data.images.decoder_fingerprint import Decoder, settle_mismatch
from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.data.labels.label_map import LabelMap
from darkroom.data.settings import DecoderMismatch, without_defaults
from darkroom.data.stores.workspace import BUNDLE_CARD
from darkroom.data.task import TASKS, TaskName
from darkroom.models.bundle.keras_file import check_keras_file, check_keras_weights
from darkroom.models.bundle.keras_loading import load_within_bounds
from darkroom.models.measures.calibration import Calibration
from darkroom.models.multi_label.answers import Answers, answers_of
from darkroom.models.multi_label.calibration import LabelCalibration
from darkroom.models.onnx.graph.validation import check_network
from darkroom.models.onnx.quantize import Int8Facts
from darkroom.models.onnx.runtime import Engine, KerasRunner, OnnxRunner, Runner, has_gpu, multiplies_int8_exactly
from darkroom.models.profile.profile import Profile, read_profile
from darkroom.models.settings import Precision, TrainSettings

logger = logging.getLogger(__name__)

_REMEDY = "Train again, or restore the folder."

SCHEMA_VERSION = 2
BUNDLE_FILES = ("model.keras", "model.onnx")
INT8_FILE = "model.int8.onnx"
# A larger file is not even hashed: networks are read into memory, some of them twice.
MAX_FILE_BYTES = 2**30
# Of the card; a thousand classes with a calibration curve of a hundred points each have 200,000.
MAX_CARD_VALUES = 2_000_000

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
# Text that may be printed to a terminal: no control characters.
Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^\P{Cc}*$")]
Count = Annotated[int, Field(ge=0, le=10**12)]


def _kind_of(calibration: Any) -> str:
    """Which calibration it is, so that of a damaged one the fields of that kind are named."""
    several = "scales" in calibration if isinstance(calibration, dict) else hasattr(calibration, "scales")
    return "LabelCalibration" if several else "Calibration"


AnyCalibration = Annotated[
    Annotated[Calibration, Tag("Calibration")] | Annotated[LabelCalibration, Tag("LabelCalibration")],
    Discriminator(_kind_of),
]


class EpochLog(BaseModel):
    """Metrics of one epoch.

    Attributes:
        epoch: From 1.
        stage: `head`, `fine-tune` or `scratch`.
        loss, val_loss: Mean cross-entropy on training and on validation images.
        accuracy, val_accuracy: Shares of images, 0 to 1.
        seconds: How long it took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: Count
    stage: Text
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


class BundleCard(BaseModel):
    """The card of a bundle, `bundle.json`.

    Attributes:
        name: The model's.
        version: 12 hex digits.
        dataset: `name@version` of the data set that it was trained on.
        task: One label an image, or any number; left out of the file where it is one.
        labels: The class names, in the order of the logits.
        policy: How its images are decoded.
        decoder: What decoded its training images; None where that was not recorded.
        settings: Of the training.
        network_stages: The stages that were trained, in order; () for the ready-made bundle.
        history: Every epoch of all stages.
        best_epoch: The epoch whose weights were kept; the first is 1. 0 for the ready-made bundle.
        num_parameters: Of the network.
        train_seconds: The sum over the epochs.
        calibration: Of its logits.
        thresholds: Of several labels, the probability from which each is given; () is left out of the file.
        threshold: Confidence below which it abstains; 0 where it never does.
        validation_accuracy: Share of the validation images; of several labels, those of which every one is right.
        onnx_max_difference: The largest difference between the outputs of `model.onnx` and `model.keras`.
        embedding_size: Numbers in an embedding; None where it gives none.
        int8: Whether int8 may replace fp32.
        libraries: Versions of those that can affect the result.
        files: Of the folder, but for the report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: int = SCHEMA_VERSION
    name: Name
    version: Name
    dataset: Text
    task: TaskName = "single-label"
    labels: Annotated[tuple[Text, ...], FIRST_ERROR] = Field(min_length=2, max_length=100_000)
    policy: DecodePolicy
    decoder: Decoder | None = None
    settings: TrainSettings
    network_stages: Annotated[tuple[Text, ...], FIRST_ERROR]
    history: Annotated[tuple[EpochLog, ...], FIRST_ERROR]
    best_epoch: Count
    num_parameters: Count
    train_seconds: float
    calibration: AnyCalibration
    thresholds: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], FIRST_ERROR] = ()
    threshold: float = Field(ge=0, le=1)
    validation_accuracy: float
    onnx_max_difference: float
    embedding_size: int | None = Field(default=None, ge=1, le=2**20)
    int8: Int8Facts = Int8Facts(refused="it was trained before int8 was supported")
    libraries: Annotated[tuple[LibraryVersion, ...], FIRST_ERROR]
    files: Annotated[tuple[FileFact, ...], FIRST_ERROR]

    @model_validator(mode="after")
    def _one_class_a_label(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label is there twice")
        if self.calibration.curves and len(self.calibration.curves) != len(self.labels):
            raise ValueError(
                f"there are {len(self.calibration.curves)} calibration curves for {len(self.labels)} labels"
            )
        return self

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        wanted = len(self.labels) if self.task == "multi-label" else 0
        calibrated = len(self.calibration.scales) if isinstance(self.calibration, LabelCalibration) else 0
        if not len(self.thresholds) == calibrated == wanted:
            raise ValueError(
                f"a {self.task} model of {len(self.labels)} labels has {len(self.thresholds)} thresholds and "
                f"{calibrated} calibrations of labels"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_the_usual_task(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_defaults(self, dump(self), ("task", "thresholds"))


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        folder: Its folder.
        card: Its card, checked.
    """

    folder: Path
    card: BundleCard

    @property
    def labels(self) -> LabelMap:
        """The label map."""
        return LabelMap(self.card.labels, TASKS[self.card.task])

    @property
    def several_labels(self) -> tuple[str, ...]:
        """The labels, where an image may have several of them; () where it has one."""
        return self.card.labels if self.card.task == "multi-label" else ()

    @property
    def answers(self) -> Answers:
        """How its probabilities become labels."""
        return answers_of(self.card.thresholds)

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.card.name}@{self.card.version}"

    @property
    def onnx_path(self) -> Path:
        """The fp32 network."""
        return self.folder / "model.onnx"

    @property
    def report_folder(self) -> Path:
        """Where the evaluation's report is, if there is one."""
        return self.folder / "report"

    @cached_property
    def profile(self) -> Profile | None:
        """The training profile, by which scoring tells unfamiliar images; None where there is none that can tell.

        Raises:
            FormatError: where it is damaged, or another network's.
        """
        found = read_profile(self.folder)
        facts = found.card.familiarity if found else None
        if facts and facts.embedding_size != self.card.embedding_size:
            raise FormatError(f"The training profile in {self.folder} is another network's. {_REMEDY}")
        return found if facts else None

    def check_embeddings(self) -> None:
        """Check that the network gives embeddings.

        Raises:
            SettingError: where it does not.
        """
        if self.card.embedding_size is None:
            raise SettingError(
                f"{self.reference} gives no embeddings: its network has no dense layer at its end, or was exported "
                "before there were any. Train again, or score without --embeddings."
            )

    def engine(self, precision: Precision) -> Engine:
        """The engine with which a precision is scored on this machine.

        `auto` is int8 where the gate passed and this processor computes it fast; fp32 where TensorFlow sees a GPU.

        Raises:
            SettingError: where int8 is asked for and the bundle has none.
        """
        refused = self.card.int8.refused
        if precision == "int8":
            if self.card.int8.gate is None:
                raise SettingError(f"{self.reference} has no int8 network: {refused}. Use --precision fp32, or auto.")
            if refused:
                logger.warning("%s scores with int8 as requested, although %s.", self.reference, refused)
            return "int8"
        if has_gpu():
            return "keras"
        return "int8" if precision == "auto" and not refused and multiplies_int8_exactly() else "fp32"

    def runner(self, engine: Engine = "fp32", num_threads: int | None = None) -> Runner:
        """The network, ready to run.

        Args:
            engine: What runs it; everything but scoring uses `fp32`.
            num_threads: As for `OnnxRunner`.

        Raises:
            FormatError: where the network does not match the card.
            InputError: where a recognition service was the engine, which is no network.
        """
        if engine == "service":
            raise InputError(f"The rows were made by a recognition service, not by {self.reference}: give its table.")
        if engine == "keras":
            return KerasRunner(self.keras_model())
        path = self.folder / INT8_FILE if engine == "int8" else self.onnx_path
        runner = OnnxRunner(path, num_threads)
        self._check_fit(path, runner.image_size, runner.num_outputs)
        if self.card.embedding_size not in (None, runner.embedding_size):
            raise FormatError(
                f"{path} gives embeddings of {runner.embedding_size} numbers, its card says "
                f"{self.card.embedding_size}. {_REMEDY}"
            )
        return runner

    def probabilities(self, logits: NDArray[np.float32], images: str) -> NDArray[np.float64]:
        """Its calibrated probabilities, `float64[N, C]`.

        Args:
            logits: That its network gave, `float32[N, C]`.
            images: What it gave them for, in words.

        Raises:
            FormatError: where one is NaN or infinity.
        """
        num_bad = len(logits) - int(np.isfinite(logits).all(axis=1).sum())
        if num_bad:
            raise FormatError(
                f"The network of {self.reference} gives NaN or infinity for {num_bad:,} of {len(logits):,} {images}: "
                "nothing can be said of it. Train again with a lower learning rate, or use another model."
            )
        return self.card.calibration.apply(logits)

    def _check_fit(self, path: Path, *found: Any) -> None:
        """Refuse a network of another image size or another number of classes than the card's."""
        wanted = (self.card.policy.image_size, len(self.labels))
        if found != wanted:
            raise FormatError(
                f"{path} takes images of {found[0]} and gives {found[1]} logits, its card says {wanted[0]} "
                f"and {wanted[1]}. {_REMEDY}"
            )

    def keras_model(self) -> Any:
        """The Keras model, loaded in safe mode: nothing in the file can run code.

        Raises:
            FormatError: where it cannot be loaded, would take more memory or time than `keras_loading` allows, or does
                not fit the card.
        """
        path = self.folder / "model.keras"
        check_keras_weights(path)
        model = load_within_bounds(path)
        self._check_fit(path, tuple(model.input_shape[1:3]), model.output_shape[-1])
        if model.count_params() != self.card.num_parameters:
            raise FormatError(
                f"{path} has {model.count_params():,} parameters, its card says {self.card.num_parameters:,}. {_REMEDY}"
            )
        return model


def check_decoder(bundle: Bundle, used: Decoder | None, rule: DecoderMismatch) -> None:
    """Warn, or refuse, where a bundle is given pixels of another decoder than that of its training images.

    Args:
        bundle: The one that is given them.
        used: The decoder of the pixels; None where it was not recorded, which is no mismatch.
        rule: `warn` or `strict`.

    Raises:
        InputError: where the decoders differ and the rule is `strict`.
    """
    subject, then = f"The training images of {bundle.reference} were", "its answers may be less accurate"
    settle_mismatch(subject, bundle.card.decoder, used, rule, then)


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle's card, check its files by size and SHA-256, and look through its networks.

    A bundle may come from somebody else: nothing of it runs before this, and nothing outside its folder is read.

    Raises:
        FormatError: where the card is missing, damaged or of an unknown schema version; where a file is not the one
            that it lists, or is a link that leads out of the folder; where a network is not of the form that
            `darkroom.models.onnx.graph.validation` and `keras_file` describe.
    """
    card = read_card(folder / BUNDLE_CARD, BundleCard, SCHEMA_VERSION, max_values=MAX_CARD_VALUES)
    answers_for = (*BUNDLE_FILES, INT8_FILE) if card.int8.gate else BUNDLE_FILES
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            check_plain(folder, Path(place, name))
    for fact in card.files:
        check_file(folder, fact)
        if fact.bytes > MAX_FILE_BYTES:
            raise FormatError(f"{folder / fact.file} has {fact.bytes:,} bytes, more than {MAX_FILE_BYTES:,}: refused.")
        if file_sha256(folder / fact.file) != fact.sha256:
            raise FormatError(
                f"{folder / fact.file} is not the file that {BUNDLE_CARD} lists: it was changed. Restore the folder, "
                "or train again."
            )
    if {fact.file for fact in card.files} != set(answers_for):
        raise FormatError(f"The card in {folder} does not list {' and '.join(answers_for)}. Train again.")
    for name in answers_for:
        if name.endswith(".onnx"):
            check_network(folder / name)
    check_keras_file(folder / "model.keras")
    return Bundle(folder, card)


def write_card(folder: Path, card: BundleCard) -> None:
    """Write `bundle.json`, which makes the folder a bundle.

    Args:
        folder: Holds all files that the card lists.
        card: What to write.
    """
    write_json(folder / BUNDLE_CARD, card.model_dump(mode="json"))
