"""Activation maximisation: an image that activates a class or a channel most, found by gradient ascent.

Erhan, Bengio, Courville, Vincent 2009, "Visualizing Higher-Layer Features of a Deep Network"; for classes Simonyan,
Vedaldi, Zisserman 2013 (arXiv:1312.6034). What keeps the image from becoming noise is from Olah, Mordvintsev, Schubert
2017, "Feature Visualization" (Distill): ascent in the image's spectrum, where each frequency is scaled to the share
that it has in photographs, on colours that vary as those of photographs do, under small random shifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.progress import Progress, counted, unseen
from darkroom.models.networks.layers import Probe

NUM_STEPS = 96
_LEARNING_RATE = 0.02
_FIRST_DEVIATION = 0.05
# Columns: how the colours of ImageNet's photographs vary together, most first (Olah et al. 2017, the code `lucid`).
_COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]], np.float32)
_BATCH = 8
_SEED = 0  # of the first noise and of the shifts
_STEP = "patterns"


@dataclass(frozen=True)
class Goal:
    """What to maximise: the logit of a class, or the mean of a channel.

    A channel is taken before its ReLU, which lets no gradient through while the channel is silent.

    Attributes:
        index: Of the class or the channel.
        layer: The channel's; None for a class.
    """

    index: int
    layer: Any = None


def maximise(
    model: Any,
    goals: Sequence[Goal],
    image_size: tuple[int, int],
    num_steps: int = NUM_STEPS,
    progress: Progress = unseen,
) -> NDArray[np.uint8]:
    """One image per goal that maximises it, `uint8[N, H, W, 3]`; the same goals give the same images.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        goals: N of them, each maximised on its own.
        image_size: (height, width) in pixels.
        num_steps: Steps of gradient ascent.
        progress: Told how many steps have been taken.
    """
    if not goals:
        return np.zeros((0, *image_size, 3), np.uint8)
    starts = range(0, len(goals), _BATCH)
    total = num_steps * len(starts)
    progress(_STEP, 0, total)
    found = []
    for number, at in enumerate(starts):
        steps = counted(range(num_steps), progress, _STEP, number * num_steps, total)
        found.append(_batch(model, goals[at : at + _BATCH], image_size, steps))
    return np.concatenate(found)


def _batch(model: Any, goals: Sequence[Goal], image_size: tuple[int, int], steps: Iterable[int]) -> NDArray[np.uint8]:
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(_SEED)
    height, width = image_size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = np.sqrt(height * width) / np.maximum(frequency, 1 / max(image_size))
    spectrum = tf.Variable(
        rng.normal(0, _FIRST_DEVIATION, (2, 1, 3, *scale.shape)).repeat(len(goals), axis=1), dtype=tf.float32
    )
    layers = list(dict.fromkeys(goal.layer for goal in goals if goal.layer is not None))
    probe = Probe(model, layers, linear=True)
    optimizer = keras.optimizers.Adam(_LEARNING_RATE)
    optimizer.build([spectrum])

    def images() -> Any:
        waves = tf.complex(spectrum[0], spectrum[1]) * scale.astype(np.complex64)
        pattern = tf.signal.irfft2d(waves, [height, width])
        mixed = tf.einsum("ncyx,dc->nyxd", pattern, _COLOURS / np.linalg.norm(_COLOURS, axis=0).max())
        return tf.sigmoid(mixed) * 255

    def strength(logits: Any, outputs: Sequence[Any], place: int, goal: Goal) -> Any:
        if goal.layer is None:
            return logits[place, goal.index]
        return tf.reduce_mean(outputs[layers.index(goal.layer)][place, ..., goal.index])

    def step(shift: Any) -> None:
        with tf.GradientTape() as tape:
            logits, outputs = probe(tf.roll(images(), shift, (1, 2)))
            total = tf.add_n([strength(logits, outputs, place, goal) for place, goal in enumerate(goals)])
        optimizer.apply_gradients([(-tape.gradient(total, spectrum), spectrum)])

    compiled = tf.function(tf.autograph.experimental.do_not_convert(step))
    reach = np.maximum(np.array(image_size) // 16, 1)
    for _ in steps:
        compiled(tf.constant(rng.integers(-reach, reach + 1), tf.int32))
    return np.asarray(np.round(images().numpy()), np.uint8)
