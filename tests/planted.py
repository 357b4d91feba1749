"""Networks with planted weights, of which every answer is known, in the forms that the product's networks have."""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
from numpy.typing import ArrayLike

from darkroom.models.networks.architectures import flip_averaged

Form = Literal["plain", "nested", "preprocessed", "mirrored"]
FORMS: tuple[Form, ...] = ("plain", "nested", "preprocessed", "mirrored")


def planted(form: Form = "plain", head: ArrayLike = ((1, 0), (0, 1)), bias: float = 0.0) -> keras.Model:
    """Channel 0 is the mean of red (0 to 1) of cells of 4 x 4 pixels, channel 1 that of blue, on a map of 8 x 8.

    Args:
        form: `nested` has a backbone inside, `preprocessed` scales outside of it as `keras.applications` do, `mirrored`
            is the mean over the image and its mirror image.
        head: `[2, C]`, from the means of the two channels to the logits.
        bias: Added to both channels before their ReLU.
    """
    weights = np.asarray(head, np.float32)
    image = keras.Input((32, 32, 3), dtype="uint8")
    scaled = keras.ops.cast(image, "float32") / 255 if form == "preprocessed" else None
    inside = image if scaled is None else keras.Input((32, 32, 3))
    conv = keras.layers.Conv2D(2, 4, strides=4, activation="relu", name="conv")
    maps = conv(inside if scaled is not None else keras.layers.Rescaling(1 / 255)(inside))
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    logits = keras.layers.Dense(weights.shape[1], use_bias=False, name="logits")
    if form in ("plain", "mirrored"):
        model = keras.Model(image, logits(pooled))
    else:
        backbone = keras.Model(inside, pooled, name="backbone")
        outer = image if scaled is not None else keras.Input((32, 32, 3), dtype="uint8")
        model = keras.Model(outer, logits(backbone(outer if scaled is None else scaled)))
    kernel = np.zeros((4, 4, 3, 2), np.float32)
    kernel[..., 0, 0] = kernel[..., 2, 1] = 1 / 16
    conv.set_weights([kernel, np.full(2, bias, np.float32)])
    logits.set_weights([weights])
    return flip_averaged(model) if form == "mirrored" else model
