"""What the device does to a batch before the network sees it: resize, move about, normalise."""

import jax
import jax.numpy as jnp
from jax import Array, random
from jax.typing import ArrayLike


def prepare(
    images: ArrayLike,
    *,
    resolution: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    key: Array | None = None,
    shift: float = 0.0,
    zoom: float = 0.0,
) -> Array:
    """Returns images at the network's resolution, normalised.

    Args:
        images: `[batch, h, w, 3]` uint8.
        resolution: side of the result, pixels. Resizing is bilinear.
        mean: of each channel, with pixels in [0, 1].
        std: of each channel, likewise.
        key: for the random part; None: the image stays where it is.
        shift: largest random shift, as a share of the side, in each direction on its own. What
            moves in is black.
        zoom: largest random change of size, as a share, in each direction on its own.

    Returns:
        `[batch, resolution, resolution, 3]` float32.
    """
    images = jnp.asarray(images)
    pixels = images.astype(jnp.float32) / 255
    if key is not None and (shift or zoom):
        pixels = _resize_at_random(pixels, resolution, key, shift, zoom)
    elif images.shape[1:3] != (resolution, resolution):
        shape = (images.shape[0], resolution, resolution, images.shape[3])
        pixels = jax.image.resize(pixels, shape, "linear")
    return (pixels - jnp.asarray(mean)) / jnp.asarray(std)


def _resize_at_random(
    pixels: Array, resolution: int, key: Array, shift: float, zoom: float
) -> Array:
    batch, height, width, channels = pixels.shape
    shift_key, zoom_key = random.split(key)
    factors = 1 + random.uniform(zoom_key, (batch, 2), minval=-zoom, maxval=zoom)
    scales = factors * jnp.array([resolution / height, resolution / width])
    moves = random.uniform(shift_key, (batch, 2), minval=-shift, maxval=shift)
    # the middle stays in the middle, but for the shift
    offsets = resolution * (moves + (1 - factors) / 2)

    def place(image: Array, scale: Array, offset: Array) -> Array:
        shape = (resolution, resolution, channels)
        return jax.image.scale_and_translate(image, shape, (0, 1), scale, offset, "linear")

    return jax.vmap(place)(pixels, scales, offsets)
