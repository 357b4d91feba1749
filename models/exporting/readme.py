"""The README of an exported model: what goes in, what comes out, and a program that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent

from darkroom.data.images.pixels.decode_policy import DecodePolicy
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.exporting.forms import FORMS, FormName

_FILTERS = {"nearest": "NEAREST", "box": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos": "LANCZOS"}
_RUN: Mapping[FormName, str] = {
    "savedmodel": """\
        import tensorflow as tf

        answer = tf.saved_model.load("1").signatures["serving_default"]
        probabilities = answer(image=tf.constant(pixels))["probabilities"].numpy()[0]
        """,
    "tflite": """\
        from ai_edge_litert.interpreter import Interpreter

        network = Interpreter("model.tflite")
        probabilities = network.get_signature_runner()(image=pixels)["probabilities"][0]
        """,
    "openvino": """\
        import openvino

        network = openvino.compile_model("model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        probabilities = network(pixels)["probabilities"][0]
        """,
    "onnx": """\
        import onnxruntime

        network = onnxruntime.InferenceSession("model.onnx")
        (image,) = network.get_inputs()
        probabilities = network.run(["probabilities"], {image.name: pixels})[0][0]
        """,
    "keras": """\
        import keras

        probabilities = keras.models.load_model("model.keras").predict(pixels, verbose=0)[0]
        """,
}
_NOTES: Mapping[FormName, str] = {
    "savedmodel": """\
        A second signature, `files`, takes `image_bytes`, the bytes of JPEG, PNG, BMP or GIF files, and decodes them as
        described above; 16 bits, CMYK and the EXIF of PNG files are left out:

        ```python
        answer = tf.saved_model.load("1").signatures["files"]
        probabilities = answer(image_bytes=tf.constant([Path("photo.jpg").read_bytes()]))["probabilities"].numpy()[0]
        ```

        TensorFlow Serving takes this folder as a model's base path, and serves version 1:

        ```sh
        docker run -p 8501:8501 -v "$PWD:/models/model" -e MODEL_NAME=model tensorflow/serving
        printf '{"signature_name": "files", "instances": [{"image_bytes": {"b64": "%s"}}]}' "$(base64 -w0 photo.jpg)" |
          curl -d @- localhost:8501/v1/models/model:predict
        ```
        """,
    "openvino": """\
        Without the hint, OpenVINO computes in bfloat16 on processors that can: faster, with other answers for a few
        images. That was not checked.
        """,
}


def readme(bundle: Bundle, form: FormName, checked: str) -> str:
    """The page, Markdown.

    Args:
        bundle: What was exported.
        form: In which form.
        checked: What it was checked on, in a sentence.
    """
    height, width = bundle.card.policy.image_size
    parts = [
        f"# {bundle.reference}",
        f"{FORMS[form].title}, exported by Darkroom. {checked}",
        f"- Input `image`: pixels `uint8[N, {height}, {width}, 3]`, RGB from 0 to 255. Scaling is inside the network.\n"
        f"- Output `probabilities`: `float32[N, {len(bundle.card.labels)}]`, calibrated, as `labels.txt` is ordered.\n"
        f"{_rule(bundle)}",
        f"How a file becomes these pixels: {_decoding(bundle.card.policy)}",
        f"```python\n{_program(bundle.card.policy, form)}```",
    ]
    return "\n\n".join([*parts, *([dedent(_NOTES[form]).strip()] if form in _NOTES else [])]) + "\n"


def _rule(bundle: Bundle) -> str:
    """How probabilities become labels."""
    if bundle.several_labels:
        limits = zip(bundle.card.labels, bundle.card.thresholds, strict=True)
        return "- An image has each label whose probability reaches its threshold: " + ", ".join(
            f"{label} {threshold:.4g}" for label, threshold in limits
        )
    if bundle.card.threshold:
        return f"- Below a confidence of {bundle.card.threshold:.4g} the model abstains."
    return "- The label is the most probable one; the model never abstains."


def _decoding(policy: DecodePolicy) -> str:
    """The policy in words."""
    how = {
        "stretch": "is resized to that size, whatever its shape",
        "pad": f"is fitted inside, and the rest filled with RGB {policy.padding}",
        "crop": "fills that size, and what is beyond it is cut off on both sides",
    }[policy.resize]
    turned = "is turned upright as its EXIF orientation says, " if policy.apply_exif_rotation else ""
    return (
        f"it {turned}is converted to RGB, transparent pixels over RGB {policy.background}, and {how}, "
        f"{policy.interpolation}, antialiased. The program does so with Pillow, whose pixels differ from Darkroom's by "
        "rounding."
    )


def _program(policy: DecodePolicy, form: FormName) -> str:
    """A program that labels `photo.jpg`."""
    height, width = policy.image_size
    filtered = f"Image.Resampling.{_FILTERS[policy.interpolation]}"
    resized = {
        "stretch": f"image.resize(({width}, {height}), {filtered})",
        "pad": f"ImageOps.pad(image, ({width}, {height}), {filtered}, color={policy.padding})",
        "crop": f"ImageOps.fit(image, ({width}, {height}), {filtered})",
    }[policy.resize]
    upright = "ImageOps.exif_transpose(image)" if policy.apply_exif_rotation else "image"
    first = f"""\
        from pathlib import Path

        import numpy as np
        from PIL import Image, ImageOps

        image = Image.open("photo.jpg")
        image = {upright}.convert("RGBA")
        below = Image.new("RGBA", image.size, {(*policy.background, 255)})
        image = Image.alpha_composite(below, image).convert("RGB")
        pixels = np.asarray({resized})[None]
        """
    last = """\
        labels = Path("labels.txt").read_text(encoding="utf-8").splitlines()
        for place in np.argsort(-probabilities)[:5]:
            print(f"{labels[place]}: {probabilities[place]:.3f}")
        """
    return dedent(first) + "\n" + dedent(_RUN[form]) + "\n" + dedent(last)
