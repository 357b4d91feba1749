"""A decode policy in TensorFlow's operators, so that a SavedModel takes files: JPEG, PNG, BMP or GIF in, pixels out.

It gives the pixels of `darkroom.data.images.decode`, by which a model is trained, but for rounding, by a level of 255,
and for the filter `box`, by up to four. What is rare is left out: 16 bits, windows of values, CMYK, EXIF of PNG.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from darkroom.data.images.pixels.decode_policy import DecodePolicy

_KERNELS = {"box": "box", "bilinear": "triangle", "bicubic": "keyscubic", "lanczos": "lanczos3"}
# The entry `orientation` of EXIF up to its value, in either order of bytes (JEITA CP-3451, 4.6.4).
_BIG_ENDIAN = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00"
_LITTLE_ENDIAN = b"\x12\x01\x03\x00\x01\x00\x00\x00"
_JPEG = b"\xff\xd8"
_SHRINKS = (1, 2, 4, 8)
_HEAD_BYTES = 64 * 1024  # of a JPEG: EXIF lies in its first segments


def tensor_decoder(policy: DecodePolicy) -> Callable[[Any], Any]:
    """A function of TensorFlow from the bytes of a file, a scalar string, to pixels `uint8[H, W, 3]`.

    Args:
        policy: How images are decoded.
    """
    import tensorflow as tf

    def decode(data: Any) -> Any:
        is_jpeg = tf.strings.substr(data, 0, 2) == _JPEG
        orientation = tf.where(is_jpeg & policy.apply_exif_rotation, _orientation(data), 1)
        image = tf.cond(
            is_jpeg,
            lambda: _jpeg(data, policy, orientation),
            lambda: _any_shape(tf.io.decode_image(data, expand_animations=False)),
        )
        pixels = _upright(_over_background(image, policy.background), orientation)
        resized = _resized(pixels, policy)
        return tf.ensure_shape(tf.saturate_cast(tf.round(resized), tf.uint8), (*policy.image_size, 3))

    return decode


def _jpeg(data: Any, policy: DecodePolicy, orientation: Any) -> Any:
    """A JPEG, shrunk by 2, 4 or 8 while it is decoded where it stays larger than what is wanted."""
    import tensorflow as tf

    height, width = policy.image_size
    wanted = tf.where(orientation > 4, tf.constant((width, height)), tf.constant((height, width)))
    room = tf.reduce_min(tf.image.extract_jpeg_shape(data)[:2] // wanted)
    place = tf.reduce_sum(tf.cast(room >= tf.constant(_SHRINKS[1:]), tf.int32)) * int(policy.scaled_jpeg)

    def shrunk(by: int) -> Callable[[], Any]:
        return lambda: _any_shape(tf.io.decode_jpeg(data, channels=3, ratio=by, dct_method="INTEGER_ACCURATE"))

    return tf.switch_case(place, [shrunk(by) for by in _SHRINKS])


def _any_shape(image: Any) -> Any:
    """The image, of which nothing is known but that it has rows, columns and channels."""
    import tensorflow as tf

    return tf.ensure_shape(image, (None, None, None))


def _over_background(image: Any, background: tuple[int, int, int]) -> Any:
    """RGB `float32[h, w, 3]` of an image of one to four channels, transparent pixels over the background."""
    import tensorflow as tf

    values, channels = tf.cast(image, tf.float32), tf.shape(image)[2]
    colour = tf.cond(channels >= 3, lambda: values[:, :, :3], lambda: tf.repeat(values[:, :, :1], 3, axis=2))
    opaque = tf.cond(channels % 2 == 0, lambda: values[:, :, -1:] / 255, lambda: tf.ones_like(values[:, :, :1]))
    return tf.round(colour * opaque + tf.constant(background, tf.float32) * (1 - opaque))


def _orientation(data: Any) -> Any:
    """The EXIF orientation of a JPEG, 1 to 8; 1 where it says nothing."""
    import tensorflow as tf

    head = tf.io.decode_raw(tf.strings.substr(data, 0, _HEAD_BYTES), tf.uint8)
    windows = tf.signal.frame(head, len(_BIG_ENDIAN) + 1, 1)
    found = [
        tf.boolean_mask(windows[:, len(entry)], tf.reduce_all(windows[:, : len(entry)] == list(entry), axis=1))
        for entry in (_BIG_ENDIAN, _LITTLE_ENDIAN)
    ]
    value = tf.cast(tf.concat([*found, tf.constant([1], tf.uint8)], 0)[0], tf.int32)
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _upright(image: Any, orientation: Any) -> Any:
    """The image turned and mirrored as its orientation says."""
    import tensorflow as tf

    ways: list[Callable[[], Any]] = [
        lambda: image,
        lambda: image[:, ::-1],
        lambda: image[::-1, ::-1],
        lambda: image[::-1],
        lambda: tf.transpose(image, (1, 0, 2)),
        lambda: tf.transpose(image, (1, 0, 2))[:, ::-1],
        lambda: tf.transpose(image, (1, 0, 2))[::-1, ::-1],
        lambda: tf.transpose(image, (1, 0, 2))[::-1],
    ]
    return tf.switch_case(orientation - 1, ways)


def _resized(image: Any, policy: DecodePolicy) -> Any:
    """The image at the policy's size, `float32[H, W, 3]`."""
    import tensorflow as tf

    size = tf.constant(policy.image_size, tf.float64)
    given = tf.cast(tf.shape(image)[:2], tf.float64)
    if policy.resize == "pad":
        inner = tf.clip_by_value(tf.round(given * tf.reduce_min(size / given)), 1, size)
        before = tf.cast(size - inner, tf.int32) // 2
        after = tf.cast(size - inner, tf.int32) - before
        colour = tf.constant(policy.padding, tf.float32)
        edges = tf.concat([tf.stack([before, after], axis=1), tf.zeros((1, 2), tf.int32)], 0)
        return tf.pad(_filtered(image, given, inner, policy.interpolation) - colour, edges) + colour
    window = size * tf.reduce_min(given / size) if policy.resize == "crop" else given
    return _filtered(image, window, size, policy.interpolation)


def _filtered(image: Any, window: Any, size: Any, interpolation: str) -> Any:
    """The window at the centre of an image, at another size; both are (height, width), that of the window unrounded."""
    import tensorflow as tf

    pixels = tf.cast(size, tf.int32)
    start = (tf.cast(tf.shape(image)[:2], tf.float64) - window) / 2
    if interpolation == "nearest":
        places = [
            tf.cast(start[axis] + (tf.range(size[axis], dtype=tf.float64) + 0.5) * window[axis] / size[axis], tf.int32)
            for axis in (0, 1)
        ]
        return tf.gather(tf.gather(image, places[0], axis=0), places[1], axis=1)
    scale = size / window
    return tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=pixels,
        scale=tf.cast(scale, tf.float32),
        translation=tf.cast(-start * scale, tf.float32),
        kernel_type=_KERNELS[interpolation],
        antialias=True,
    )[0]
