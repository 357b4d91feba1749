"""The learning rate: its peak, and its schedule over the steps of a stage.

`cosine` rises linearly over the first twentieth of the steps and falls to zero along half a cosine (Loshchilov and
Hutter 2017, "SGDR", arXiv:1608.03983; the warm-up from Goyal et al. 2017, arXiv:1706.02677).
"""

from __future__ import annotations

from typing import Any, Literal

from darkroom.models.settings import TrainSettings


def peak_rate(settings: TrainSettings) -> float:
    """The peak learning rate of the head and of training from scratch: as set, or 1e-3, or 0.05 for SGD."""
    return settings.learning_rate or (0.05 if settings.optimizer == "sgd" else 1e-3)


def schedule(kind: Literal["constant", "cosine"], peak: float, num_steps: int) -> Any:
    """What a Keras optimizer takes as its `learning_rate`: the peak itself, or a cosine after a linear warm-up.

    Args:
        kind: `constant` or `cosine`.
        peak: The highest rate.
        num_steps: Steps of the stage, of which the first twentieth is warm-up.
    """
    if kind == "constant":
        return peak
    import keras

    warmup = max(1, num_steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, num_steps - warmup), warmup_target=peak, warmup_steps=warmup
    )
