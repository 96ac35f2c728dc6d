"""What of an image a network is shown: random crops to train, the middle to evaluate.

In TensorFlow, and traced once: every image of a pipeline goes through the same graph.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastscale_jax.data.sources.tensorflow_cpu import tf

Tensor = Any  # a tf.Tensor

# "Going Deeper with Convolutions" (arXiv:1409.4842, section 6), as everybody trains since
AREA = (0.08, 1.0)  # of the image
ASPECT = (3 / 4, 4 / 3)  # width over height
TRIES = 10


class View(NamedTuple):
    """A part of an image, at the network's resolution."""

    # of height and width `[2]` int32 and a seed `[2]` int64: top, left, height, width `[4]` int32
    box: Callable[[Tensor, Tensor], Tensor]
    resize: Callable[[Tensor], Tensor]  # of pixels `[h, w, 3]` uint8, likewise

    def of_file(self, content: Tensor, seed: Tensor) -> Tensor:
        """Returns the view of a JPEG or PNG file.

        Only the JPEG blocks that the box needs are decoded. Anything else, and a damaged file, is
        an error when the graph runs.

        Args:
            content: the file's bytes.
            seed: `[2]` int64.

        Returns:
            `[resolution, resolution, 3]` uint8.
        """
        pixels = tf.cond(
            tf.io.is_jpeg(content),
            lambda: self._jpeg_box(content, seed),
            lambda: self._cut(tf.io.decode_png(content, channels=3), seed),
        )
        return self.resize(pixels)

    def of_pixels(self, pixels: Tensor, seed: Tensor) -> Tensor:
        """Returns the view of an image `[h, w, 3]` uint8 that has been decoded."""
        return self.resize(self._cut(pixels, seed))

    def _jpeg_box(self, content: Tensor, seed: Tensor) -> Tensor:
        size = tf.image.extract_jpeg_shape(content)[:2]
        # the exact transform, as in Pillow; the fast one is no faster where there is SIMD
        return tf.image.decode_and_crop_jpeg(
            content, self.box(size, seed), channels=3, dct_method="INTEGER_ACCURATE"
        )

    def _cut(self, pixels: Tensor, seed: Tensor) -> Tensor:
        box = self.box(tf.shape(pixels)[:2], seed)
        return tf.slice(pixels, [box[0], box[1], 0], [box[2], box[3], 3])


def train_view(resolution: int) -> View:
    """Returns random resized crops: bilinear, without antialiasing, as OpenCV's in the reference.

    Args:
        resolution: side of the result, pixels.
    """

    def resize(pixels: Tensor) -> Tensor:
        return _as_uint8(tf.image.resize(pixels, (resolution, resolution)))

    return View(random_box, resize)


def eval_view(resolution: int, crop: float) -> View:
    """Returns the middle, as `images.centre_crop` does: bilinear, with antialiasing.

    Args:
        resolution: side of the result, pixels.
        crop: the share of the short side that is kept.
    """
    short = round(resolution / crop)

    def whole(size: Tensor, seed: Tensor) -> Tensor:
        del seed
        return tf.concat([[0, 0], size], axis=0)

    def resize(pixels: Tensor) -> Tensor:
        size = tf.cast(tf.shape(pixels)[:2], tf.float64)
        resized = tf.maximum(tf.round(size * (short / tf.reduce_min(size))), short)
        offset = (tf.cast(resized, tf.int32) - resolution) // 2
        # resizes and crops in one, so that nothing is computed outside the crop
        middle = tf.raw_ops.ScaleAndTranslate(
            images=pixels[None],
            size=[resolution, resolution],
            scale=tf.cast(resized / size, tf.float32),
            translation=-tf.cast(offset, tf.float32),
            kernel_type="triangle",
            antialias=True,
        )
        return _as_uint8(tf.ensure_shape(middle[0], (resolution, resolution, 3)))

    return View(whole, resize)


def random_box(size: Tensor, seed: Tensor) -> Tensor:
    """Returns a random part of an image: 8 to 100 % of its area, from upright 3:4 to 4:3 across.

    Areas are uniform and aspects log-uniform, as in torchvision. (TensorFlow's own
    `sample_distorted_bounding_box` has uniform heights: its crops are a quarter smaller.) After ten
    tries that do not fit, as in panoramas, the largest part of an allowed shape in the middle.

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
    # one more, which always fits
    middle = tf.minimum(sides, tf.round(sides[::-1] * ASPECT[1]))
    parts = tf.maximum(tf.concat([tried, middle[None]], axis=0), 1)
    first = tf.argmax(tf.reduce_all(parts <= sides, axis=1))
    part, where = parts[first], tf.concat([draws[:, 2:], [[0.5, 0.5]]], axis=0)[first]
    corner = tf.floor(where * (sides - part + 1))
    return tf.cast(tf.concat([corner, part], axis=0), tf.int32)


def _as_uint8(pixels: Tensor) -> Tensor:
    return tf.cast(tf.round(pixels), tf.uint8)  # of 0 to 255, which bilinear weights keep
