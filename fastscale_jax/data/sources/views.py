"""Crops and resizes images: random crops for training, the middle for evaluation.

It is in TensorFlow and traced once: all images of a pipeline use the same graph.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastscale_jax.data.sources.conventions import MAX_PIXELS
from fastscale_jax.data.sources.orientation import (
    jpeg_has_notes,
    only_if,
    orientation_of,
    png_has_notes,
    stored_box,
    upright,
    upright_size,
)
from fastscale_jax.data.sources.tensorflow_cpu import tf

Tensor = Any  # a tf.Tensor

# the usual random crops, from "Going Deeper with Convolutions" (arXiv:1409.4842, section 6)
AREA = (0.08, 1.0)  # share of the image's area
ASPECT = (3 / 4, 4 / 3)  # width over height
TRIES = 10


class View(NamedTuple):
    """A part of an image, at the network's resolution."""

    # (height and width `[2]` int32, seed `[2]` int64) -> top, left, height, width `[4]` int32
    box: Callable[[Tensor, Tensor], Tensor]
    resize: Callable[[Tensor], Tensor]  # pixels `[h, w, 3]` uint8 -> the same at the resolution
    exif: bool  # whether images are rotated by their EXIF orientation
    max_pixels: int  # of a file

    def of_file(self, content: Tensor, seed: Tensor) -> Tensor:
        """Returns the view of a JPEG or PNG file.

        Only the JPEG blocks that the box needs are decoded. Other formats and damaged files are
        errors when the graph runs.

        Args:
            content: the file's bytes.
            seed: `[2]` int64.

        Returns:
            `[resolution, resolution, 3]` uint8.
        """
        is_jpeg = tf.io.is_jpeg(content)
        as_stored = is_jpeg & ~jpeg_has_notes(content) if self.exif else is_jpeg
        pixels = tf.cond(
            as_stored,
            lambda: self._jpeg_box(content, seed),
            lambda: (
                self._turned(content, seed, is_jpeg)
                if self.exif
                else self._cut(self._decoded_png(content), seed)
            ),
        )
        return self.resize(pixels)

    def of_pixels(self, pixels: Tensor, seed: Tensor) -> Tensor:
        """Returns the view of a decoded image `[h, w, 3]` uint8."""
        return self.resize(self._cut(pixels, seed))

    def _turned(self, content: Tensor, seed: Tensor, is_jpeg: Tensor) -> Tensor:
        """The pixels of the box, for a file that may have an orientation."""
        orientation = tf.cond(
            is_jpeg | png_has_notes(tf.where(is_jpeg, b"", content)),
            lambda: orientation_of(content, is_jpeg),
            lambda: 1,
        )
        return tf.cond(
            is_jpeg,
            lambda: self._jpeg_box(content, seed, orientation),
            lambda: self._cut(upright(self._decoded_png(content), orientation), seed),
        )

    def _jpeg_box(self, content: Tensor, seed: Tensor, orientation: Tensor = None) -> Tensor:
        stored = self._bounded(tf.image.extract_jpeg_shape(content)[:2])
        size = stored if orientation is None else upright_size(stored, orientation)
        box = self.box(size, seed)
        if orientation is not None:
            box = stored_box(box, stored, orientation)
        # the exact transform, as in Pillow; with SIMD the inexact one is not faster
        pixels = tf.image.decode_and_crop_jpeg(
            content, box, channels=3, dct_method="INTEGER_ACCURATE"
        )
        return pixels if orientation is None else upright(pixels, orientation)

    def _cut(self, pixels: Tensor, seed: Tensor) -> Tensor:
        box = self.box(tf.shape(pixels)[:2], seed)
        return tf.slice(pixels, [box[0], box[1], 0], [box[2], box[3], 3])

    def _decoded_png(self, content: Tensor) -> Tensor:
        """The pixels of a PNG file; refuses GIFs of any size, which TensorFlow's decoder reads."""
        is_png = tf.strings.substr(content, 0, 8) == b"\x89PNG\r\n\x1a\n"
        size = tf.io.decode_raw(tf.strings.substr(content, 16, 8), tf.int32, little_endian=False)
        with tf.control_dependencies([self._bounded(only_if(is_png, size))]):
            return tf.io.decode_png(content, channels=3)

    def _bounded(self, size: Tensor) -> Tensor:
        """The height and width; an error if the file has more than `max_pixels`."""
        pixels = tf.reduce_prod(tf.cast(size, tf.int64))
        return only_if(pixels <= self.max_pixels, size)


@functools.cache
def train_view(resolution: int, *, exif: bool, max_pixels: int = MAX_PIXELS) -> View:
    """Returns random resized crops: bilinear, without antialiasing, as OpenCV in the reference.

    Args:
        resolution: side of the result, pixels.
        exif: whether images are rotated by their EXIF orientation.
        max_pixels: largest number of pixels of a file; a larger one is an error when the graph
            runs.
    """

    def resize(pixels: Tensor) -> Tensor:
        return _as_uint8(tf.image.resize(pixels, (resolution, resolution)))

    return View(random_box, resize, exif, max_pixels)


@functools.cache
def eval_view(
    resolution: int,
    crop: float,
    interpolation: str = "bilinear",
    crop_mode: str = "center",
    *,
    exif: bool,
    max_pixels: int = MAX_PIXELS,
) -> View:
    """Returns crops of the middle, as `images.centre_crop`, with antialiasing.

    Args:
        resolution: side of the result, pixels.
        crop: as in `conventions.Conventions`, above 0.
        interpolation: as in `conventions.Conventions`.
        crop_mode: as in `conventions.Conventions`.
        exif: as in `train_view`.
        max_pixels: as in `train_view`.
    """
    short = round(resolution / crop)

    def whole(size: Tensor, seed: Tensor) -> Tensor:
        del seed
        return tf.concat([[0, 0], size], axis=0)

    def resize(pixels: Tensor) -> Tensor:
        size = tf.cast(tf.shape(pixels)[:2], tf.float64)
        if crop_mode == "squash":
            resized = tf.constant([short, short], tf.float64)
        else:
            resized = tf.maximum(tf.round(size * (short / tf.reduce_min(size))), short)
        offset = (tf.cast(resized, tf.int32) - resolution) // 2
        scale, shift = tf.cast(resized / size, tf.float32), -tf.cast(offset, tf.float32)
        # resizes and crops in one operation: nothing is computed outside the crop
        if interpolation == "bilinear":
            middle = _scaled(pixels, (resolution, resolution), scale, shift, "triangle")
            return _as_uint8(tf.ensure_shape(middle, (resolution, resolution, 3)))
        # Pillow resizes horizontally first and rounds; with cubic weights, which overshoot, the
        # order matters. (For a squashed tall image, Pillow 13 resizes vertically first: results
        # differ by a few levels.)
        height, kernel = tf.shape(pixels)[0], "keyscubic"
        across, down = tf.constant([0.0, 1.0]), tf.constant([1.0, 0.0])
        rows = _scaled(pixels, (height, resolution), scale**across, shift * across, kernel)
        whole_rows = tf.ensure_shape(_as_uint8(rows), (None, resolution, 3))
        middle = _scaled(whole_rows, (resolution, resolution), scale**down, shift * down, kernel)
        return _as_uint8(tf.ensure_shape(middle, (resolution, resolution, 3)))

    return View(whole, resize, exif, max_pixels)


def _scaled(pixels: Tensor, size: Any, scale: Tensor, shift: Tensor, kernel: str) -> Tensor:
    """Pixels `[h, w, 3]` resized with antialiasing, moved, and cut to a size; float32."""
    return tf.raw_ops.ScaleAndTranslate(
        images=pixels[None],
        size=size,
        scale=scale,
        translation=shift,
        kernel_type=kernel,
        antialias=True,
    )[0]


def random_box(size: Tensor, seed: Tensor) -> Tensor:
    """Returns a random box: 8 to 100 % of the image's area, width over height from 3/4 to 4/3.

    Areas are uniform and aspects log-uniform, as in torchvision. (TensorFlow's
    `sample_distorted_bounding_box` has uniform heights: its crops are a quarter smaller.) After ten
    tries that do not fit, as in panoramas, the result is the largest box of an allowed shape in the
    middle. (The paper's code then takes the middle square.)

    Args:
        size: height and width `[2]` int32, pixels.
        seed: `[2]` int64.

    Returns:
        `[4]` int32: top, left, height, width.
    """
    draws = tf.raw_ops.StatelessRandomUniform(shape=(TRIES, 4), seed=seed)
    area = AREA[0] + (AREA[1] - AREA[0]) * draws[:, :1]
    # log(width/height)/2, of the height and of the width
    half = 0.5 * np.log(ASPECT[1]) * (2 * draws[:, 1:2] - 1) * np.array([-1, 1], np.float32)
    sides = tf.cast(size, tf.float32)
    tried = tf.round(tf.sqrt(area * tf.reduce_prod(sides)) * tf.exp(half))
    # the last candidate always fits
    middle = tf.minimum(sides, tf.round(sides[::-1] * ASPECT[1]))
    parts = tf.maximum(tf.concat([tried, middle[None]], axis=0), 1)
    first = tf.argmax(tf.reduce_all(parts <= sides, axis=1))
    part, position = parts[first], tf.concat([draws[:, 2:], [[0.5, 0.5]]], axis=0)[first]
    corner = tf.floor(position * (sides - part + 1))
    return tf.cast(tf.concat([corner, part], axis=0), tf.int32)


def _as_uint8(pixels: Tensor) -> Tensor:
    return tf.saturate_cast(tf.round(pixels), tf.uint8)
