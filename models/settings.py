"""What decides how a network is trained, and whether it is good enough to score with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from darkroom.data.images.pixels.augment import PRESETS, AugmentPolicy
from darkroom.data.settings import SettingsModel, without_defaults

Precision = Literal["auto", "fp32", "int8"]
CalibrationMethod = Literal["temperature", "isotonic"]
Optimizer = Literal["adam", "adamw", "sgd", "rmsprop", "nadam", "adagrad", "adadelta", "adamax", "lion"]

# Two settings are stored, and hashed into every version, under a name that misleads: recipes and the command line call
# them by the first.
STORED_NAMES: Mapping[str, str] = {"architecture": "model", "fine_tune_layers": "fine_tune_blocks"}


def with_stored_names(train: Mapping[str, Any]) -> dict[str, Any]:
    """Training settings with each key under its stored name; a setting that is given under both names keeps both."""
    return {name if STORED_NAMES.get(name) in train else STORED_NAMES.get(name, name): train[name] for name in train}


class TrainSettings(SettingsModel):
    """Settings of one training; with the data set's version they decide the bundle's version."""

    name: str | None = Field(default=None, description="Name of the model (default: DATASET-ARCHITECTURE)")
    model: str = Field(
        default="efficientnet-lite0",
        title="Architecture",
        description="Architecture: starter, cifar4, cifar6, residual32, residual96, airbench32, efficientnet-lite0, "
        "efficientnet-lite1, efficientnet-lite2, or the name of a network in keras.applications",
    )
    weights: Literal["imagenet", "none"] = Field(
        default="imagenet", description="Initial weights: imagenet for pretrained, none to train from scratch"
    )
    epochs: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Maximum epochs (default: 60 from scratch, 100 for a head on cached features)",
    )
    batch_size: int = Field(default=32, ge=1, le=8192, description="Images per step")
    optimizer: Optimizer = Field(
        default="adam", description="Optimizer: adam, adamw, sgd, rmsprop, nadam, adagrad, adadelta, adamax or lion"
    )
    learning_rate: float | None = Field(
        default=None, gt=0, le=10, description="Peak learning rate (default: 0.001, or 0.05 for sgd)"
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine",
        description="Learning-rate schedule: constant, or cosine decay to zero after a warm-up over the first "
        "twentieth of the steps",
    )
    weight_decay: float = Field(
        default=0.0, ge=0, lt=1, description="Decoupled weight decay of the kernels, as in AdamW"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Label smoothing: share of the truth spread over all classes"
    )
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout rate before the last layer")
    augmentation: AugmentPolicy = Field(
        default=PRESETS["standard"],
        description="Augmentation while training from scratch or fine-tuning: none, light, standard, strong or scans; "
        "in a recipe also a policy",
    )
    mixup: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="Mixup while training from scratch or fine-tuning: images and labels are blended by a share drawn "
        "from Beta(mixup, mixup); 0: off",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="CutMix likewise: a rectangle of another image is pasted in, its area drawn from Beta(cutmix, "
        "cutmix); 0: off. With mixup also set, each batch takes one of the two",
    )
    class_weights: bool = Field(default=True, description="Weight classes by their inverse frequency")
    patience: int = Field(default=10, ge=1, description="Early stopping: epochs without a better validation loss")
    fine_tune_blocks: int = Field(
        default=0,
        title="Fine-tune layers",
        ge=0,
        le=1000,
        description="Layers of the backbone to train after the head: its last convolutions; 0: none",
    )
    fine_tune_epochs: int = Field(default=10, ge=1, le=10_000, description="Maximum epochs of fine-tuning")
    fine_tune_learning_rate: float = Field(default=1e-4, gt=0, le=10, description="Peak learning rate of fine-tuning")
    flip_average: bool = Field(
        default=False,
        description="Average the logits of an image and its mirror image, inside the network; doubles the cost of "
        "inference",
    )
    calibration: CalibrationMethod = Field(
        default="temperature",
        description="How probabilities are calibrated on validation: temperature (one number), or isotonic (one curve "
        "per class; for 1,000 validation images or more)",
    )
    min_precision: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Abstain below the confidence at which this precision is reached on validation; 0: never abstain",
    )
    min_coverage: float = Field(
        default=0.0, ge=0, le=1, description="Abstain on all but this share of the validation images; 0: never abstain"
    )
    seed: int = Field(default=0, ge=0, description="Seed of weights, order, augmentation and dropout")
    workers: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Processes that train together from scratch or fine-tune, each on its own shards and its share of "
        "every batch; see docs/distributed.md",
    )

    @model_validator(mode="before")
    @classmethod
    def _stored_names(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        found = with_stored_names(values)
        for name in STORED_NAMES.keys() & found.keys():
            raise ValueError(f"`{STORED_NAMES[name]}` is the old name of `{name}`: give one of them")
        return found

    @model_validator(mode="after")
    def _an_image_a_worker(self) -> Self:
        if self.workers > self.batch_size:
            raise ValueError(
                f"a batch of {self.batch_size} images cannot be shared by {self.workers} workers: raise `batch_size`, "
                "or lower `workers`"
            )
        return self

    @model_validator(mode="after")
    def _one_rule_for_the_threshold(self) -> Self:
        if self.min_precision and self.min_coverage:
            raise ValueError("`min_precision` and `min_coverage` each decide the abstain threshold: set one of them")
        return self


class BlessingRules(SettingsModel):
    """When a bundle is good enough to score with; see docs/evaluation.md."""

    min_accuracy: float = Field(default=0.0, ge=0, le=1, description="Minimum accuracy on the test images")
    min_recall: float = Field(default=0.0, ge=0, le=1, description="Minimum recall of every class")
    min_test_images: int = Field(
        default=5, ge=0, description="Minimum number of test images of every class, without which no model is approved"
    )
    min_validation_images: int = Field(
        default=1,
        ge=0,
        description="Minimum number of validation images of every class, on which its calibration and thresholds rest",
    )
    min_macro_f1: float = Field(default=0.0, ge=0, le=1, description="Minimum macro F1 on the test images")
    max_calibration_error: float = Field(default=1.0, ge=0, le=1, description="Maximum expected calibration error")
    accuracy_margin: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Accuracy that a model may lose against the blessed one; a loss within chance does not count",
    )
    recall_margin: float = Field(
        default=0.05, ge=0, le=1, description="Recall that each class may lose against the blessed model"
    )
    calibration_margin: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="Expected calibration error that a model may add to that of the blessed one",
    )
    max_possible_loss: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Loss of accuracy that the comparison must rule out, by the lower end of its 95 % interval; 1 "
        "rules out nothing",
    )

    @model_serializer(mode="wrap")
    def _without_later_rules(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A rule that came later stands in it only where it was set, so that earlier reports stay up to date."""
        return without_defaults(self, dump(self), ("min_macro_f1", "min_validation_images"))
