"""What decides how a network is trained, and whether it is good enough to score with."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from darkroom.data.images.augment import PRESETS, AugmentPolicy
from darkroom.data.settings import SettingsModel

Precision = Literal["auto", "fp32", "int8"]
CalibrationMethod = Literal["temperature", "isotonic"]
Optimizer = Literal["adam", "adamw", "sgd", "rmsprop", "nadam", "adagrad", "adadelta", "adamax", "lion"]


class TrainSettings(SettingsModel):
    """Settings of one training; with the data set's version they decide the bundle's version.

    Attributes:
        name: Of the bundle; None takes the data set's name and the network's.
        model: starter, cifar4, cifar6, residual32, residual96, airbench32, efficientnet-lite0, or a network of
            keras.applications.
        weights: `imagenet` for pretrained weights, `none` for training from scratch.
        epochs: Most epochs; unless given 60 from scratch, 100 for a head on cached features.
        batch_size: Images in a step.
        optimizer: By its name in Keras.
        learning_rate: The peak; unless given 1e-3, 0.05 for sgd.
        schedule: `constant`, or `cosine` down to zero after a warm-up over the first twentieth of the steps.
        weight_decay: Decoupled decay of kernels, as AdamW does.
        label_smoothing: Share of the truth spread over all classes.
        dropout: Before the last layer.
        augmentation: On the fly, from scratch or fine-tuning: none, light, standard, strong, scans, or a policy.
        mixup: From scratch or fine-tuning, blend each image and its label with another's of its batch, by a share drawn
            from Beta(mixup, mixup); 0 for none.
        cutmix: The same by a rectangle of the other image, its share of the area from Beta(cutmix, cutmix); where both
            are set, each batch takes one of them.
        class_weights: Weigh classes by the inverse of their frequency.
        patience: Epochs without a better validation loss before training stops.
        fine_tune_blocks: After the head, train this many of the backbone's last convolutions too; 0 for none.
        fine_tune_epochs: Most epochs of that stage.
        fine_tune_learning_rate: The peak of that stage.
        flip_average: Average the logits of an image and of its mirror image, in the bundle's network itself; twice the
            work wherever it is run.
        calibration: How probabilities are fitted on validation: `temperature` (one number), or `isotonic` (a curve a
            class, for 1,000 validation images and more).
        min_precision: Precision at and above the abstain threshold, reached on validation; 0 sets no threshold by it.
        min_coverage: Share of the validation images that it does not abstain on; 0 sets no threshold by it.
        seed: Of weights, order, augmentation and dropout.
        workers: Processes that train together from scratch or fine-tune, each on its own shards and its part of every
            batch; see docs/distributed.md.
    """

    name: str | None = None
    model: str = "efficientnet-lite0"
    weights: Literal["imagenet", "none"] = "imagenet"
    epochs: int | None = Field(default=None, ge=1, le=10_000)
    batch_size: int = Field(default=32, ge=1, le=8192)
    optimizer: Optimizer = "adam"
    learning_rate: float | None = Field(default=None, gt=0, le=10)
    schedule: Literal["constant", "cosine"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    augmentation: AugmentPolicy = PRESETS["standard"]
    mixup: float = Field(default=0.0, ge=0, le=10)
    cutmix: float = Field(default=0.0, ge=0, le=10)
    class_weights: bool = True
    patience: int = Field(default=10, ge=1)
    fine_tune_blocks: int = Field(default=0, ge=0, le=1000)
    fine_tune_epochs: int = Field(default=10, ge=1, le=10_000)
    fine_tune_learning_rate: float = Field(default=1e-4, gt=0, le=10)
    flip_average: bool = False
    calibration: CalibrationMethod = "temperature"
    min_precision: float = Field(default=0.0, ge=0, lt=1)
    min_coverage: float = Field(default=0.0, ge=0, le=1)
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=1, le=1024)

    @model_validator(mode="after")
    def _an_image_a_worker(self) -> Self:
        if self.workers > self.batch_size:
            raise ValueError(f"a batch of {self.batch_size} images cannot be shared by {self.workers} workers")
        return self

    @model_validator(mode="after")
    def _one_rule_for_the_threshold(self) -> Self:
        if self.min_precision and self.min_coverage:
            raise ValueError("min_precision and min_coverage each decide the abstain threshold: set one of them")
        return self


class BlessingRules(SettingsModel):
    """When a bundle is good enough to score with; see docs/judgement.md.

    Attributes:
        min_accuracy: Floor of the accuracy on the test images, for every bundle.
        min_recall: Floor of the recall of every class, for every bundle.
        max_calibration_error: Ceiling of the expected calibration error, for every bundle.
        accuracy_margin: Accuracy that a bundle may lose against the blessed one; a loss within chance is none.
        recall_margin: The same for the recall of each class.
        calibration_margin: The same for the expected calibration error, which is better where it is smaller.
        max_possible_loss: Loss of accuracy that the compared images must rule out (lower end of the 95 % interval);
            1 rules out nothing.
    """

    min_accuracy: float = Field(default=0.0, ge=0, le=1)
    min_recall: float = Field(default=0.0, ge=0, le=1)
    max_calibration_error: float = Field(default=1.0, ge=0, le=1)
    accuracy_margin: float = Field(default=0.0, ge=0, le=1)
    recall_margin: float = Field(default=0.05, ge=0, le=1)
    calibration_margin: float = Field(default=0.02, ge=0, le=1)
    max_possible_loss: float = Field(default=0.1, ge=0, le=1)
