"""Grad-CAM: where in an image a network saw what it says (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from
Deep Networks via Gradient-based Localization").

The gradient of a class's logit with respect to the last convolutional feature map gives each channel a weight; the
weighted sum, its negative part cut off, is the heat map. Works on plain and on nested networks alike, because the
feature map is taken while the model runs, not from its graph.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from data.atomic import atomic_file
from data.decode import decode
from data.errors import ImageError, InputError, SettingError
from data.listing import printable, read_file
from models.bundle import Bundle
from models.judged import PREDICTIONS
from models.report import read_report


@dataclass(frozen=True)
class Explained:
    """What came of one image: the picture's path, or a reason code."""

    image: str
    picture: Path | None
    reason: str | None


def grad_cam(model: Any, image: NDArray[np.uint8], class_index: int) -> NDArray[np.float32]:
    """Heat map `float32[h, w]` from 0 to 1 of a class, at the size of the last convolutional feature map.

    Args:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        image: `uint8[H, W, 3]`.
        class_index: In label map order.

    Raises:
        SettingError: where the network has no convolutional layer.
    """
    import tensorflow as tf

    layer = _last_map(model)
    seen: list[Any] = []
    original = layer.call
    with tf.GradientTape() as tape:

        def watched(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            tape.watch(output)
            seen.append(output)
            return output

        object.__setattr__(layer, "call", watched)
        try:
            logits = model(image[None], training=False)
        finally:
            object.__delattr__(layer, "call")
        score = logits[0, class_index]
    weights = tf.reduce_mean(tape.gradient(score, seen[0]), axis=(1, 2), keepdims=True)
    heat = np.maximum(tf.reduce_sum(weights * seen[0], axis=-1).numpy()[0], 0)
    return np.asarray(heat / heat.max() if heat.max() > 0 else heat, dtype=np.float32)


def explain_images(bundle: Bundle, images: Sequence[Path], out: Path) -> list[Explained]:
    """A picture for each image: as the network gets it, and with the heat map of the predicted class over it.

    Raises:
        InputError: where not one image can be read.
    """
    model = bundle.keras_model()
    done = [_explain(bundle, model, path, out, number) for number, path in enumerate(images)]
    if not any(item.picture for item in done):
        reasons = ", ".join(f"{item.image} ({item.reason})" for item in done[:5])
        raise InputError(f"None of the images can be read: {reasons}. Give the paths of image files.")
    return done


def choose_examples(bundle: Bundle, num_wrong: int = 4, num_right: int = 4) -> list[str]:
    """Paths worth a look: the worst mistakes of the report, and the right ones that were most certain, by class."""
    report = read_report(bundle.report_folder)
    wrong = [mistake.path for mistake in report.worst_mistakes[:num_wrong]]
    rows = pq.read_table(bundle.report_folder / PREDICTIONS).to_pylist()
    right = [row for row in rows if row["truth"] == row["predicted"]]
    right.sort(key=lambda row: (-row["confidence"], row["path"]))
    first: dict[str, str] = {}
    for row in right:
        first.setdefault(row["truth"], row["path"])
    chosen = sorted(first.values()) + [row["path"] for row in right if row["path"] not in set(first.values())]
    return wrong + chosen[:num_right]


def _explain(bundle: Bundle, model: Any, path: Path, out: Path, number: int) -> Explained:
    shown = printable(str(path))
    try:
        pixels = decode(read_file(path.parent, path.name, bundle.card.policy.max_bytes), bundle.card.policy)
    except ImageError as error:
        return Explained(shown, None, error.reason)
    chances = bundle.card.calibration.apply(np.asarray(model(pixels[None], training=False)))[0]
    place = int(chances.argmax())
    heat = grad_cam(model, pixels, place)
    caption = f"{bundle.card.labels[place]}  {chances[place]:.1%}"
    picture = out / f"{number:03d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', path.stem)[:60]}.png"
    with atomic_file(picture) as temporary:
        temporary.write_bytes(_picture(pixels, heat, caption))
    return Explained(shown, picture, None)


def _picture(pixels: NDArray[np.uint8], heat: NDArray[np.float32], caption: str) -> bytes:
    height, width = pixels.shape[:2]
    smooth = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BICUBIC))
    figure = Figure(figsize=(5.2, 2.9), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.imshow(pixels)
    left.set_title("what the network gets", fontsize=9)
    right.imshow(pixels)
    right.imshow(smooth, cmap="inferno", alpha=0.5, vmin=0, vmax=1)
    right.set_title(caption, fontsize=9, parse_math=False)
    for axes in (left, right):
        axes.set_axis_off()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _last_map(model: Any) -> Any:
    """The last layer whose output still has the height and width of the last convolution's."""
    layers = [layer for layer in _leaves(model) if len(getattr(layer.output, "shape", ())) == 4]
    convolutions = [layer for layer in layers if "Conv" in type(layer).__name__]
    if not convolutions:
        raise SettingError(f"{model.name} has no convolutional layer, so Grad-CAM has no feature map to show.")
    size = convolutions[-1].output.shape[1:3]
    return [layer for layer in layers if layer.output.shape[1:3] == size][-1]


def _leaves(model: Any) -> Iterator[Any]:
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer
