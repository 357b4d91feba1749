"""What decides how a network is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data.augment import PRESETS, AugmentPolicy
from data.settings import SettingsModel

Optimizer = Literal["adam", "adamw", "sgd", "rmsprop", "nadam", "adagrad", "adadelta", "adamax", "lion"]


class TrainSettings(SettingsModel):
    """Settings of one training; with the data set's version they decide the bundle's version.

    Attributes:
        name: Of the bundle; None takes the data set's name and the network's.
        model: starter, cifar4, cifar6, efficientnet-lite0, or a network of keras.applications.
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
        class_weights: Weigh classes by the inverse of their frequency.
        patience: Epochs without a better validation loss before training stops.
        fine_tune_blocks: After the head, train this many of the backbone's last convolutions too; 0 for none.
        fine_tune_epochs: Most epochs of that stage.
        fine_tune_learning_rate: The peak of that stage.
        min_precision: Precision at and above the abstain threshold, reached on validation; 0 never abstains.
        seed: Of weights, order, augmentation and dropout.
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
    augmentation: AugmentPolicy = PRESETS["light"]
    class_weights: bool = True
    patience: int = Field(default=10, ge=1)
    fine_tune_blocks: int = Field(default=0, ge=0, le=1000)
    fine_tune_epochs: int = Field(default=10, ge=1, le=10_000)
    fine_tune_learning_rate: float = Field(default=1e-4, gt=0, le=10)
    min_precision: float = Field(default=0.0, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
