"""What the device does to a batch before the network sees it."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.typing import ArrayLike

from fastscale_jax.data import mixing, policies
from fastscale_jax.data.augment_config import Augment


def prepare(
    images: ArrayLike,
    *,
    resolution: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    augment: Augment | None = None,
    key: Array | None = None,
) -> Array:
    """Returns images at the network's resolution, augmented and normalised.

    In this order: shift and zoom, flip, the policy, lighting. What they move in is black, but for
    the policy's, which is grey.

    Args:
        images: `[batch, h, w, 3]` uint8.
        resolution: side of the result, pixels. Resizing is bilinear.
        mean: of each channel, with pixels in [0, 1].
        std: of each channel, likewise.
        augment: the random part; None: there is none.
        key: for it.

    Returns:
        `[batch, resolution, resolution, 3]` float32.
    """
    images = jnp.asarray(images)
    if augment is None or key is None:
        pixels = _resize(images.astype(jnp.float32) / 255, resolution)
    else:
        pixels = _augmented(images, resolution, augment, key)
    return (pixels - jnp.asarray(mean)) / jnp.asarray(std)


def mixed(images: Array, targets: Array, key: Array, augment: Augment) -> tuple[Array, Array]:
    """Returns images and targets after mixup or cutmix, if any.

    Args:
        images: `[batch, h, w, 3]`.
        targets: `[batch, num_classes]`, each summing to 1.
        key: one draw is for the whole batch.
        augment: with both, a coin decides for each batch.
    """
    choose_key, key = random.split(key)
    ways = [
        functools.partial(way, images, targets, key, alpha)
        for way, alpha in ((mixing.mixup, augment.mixup), (mixing.cutmix, augment.cutmix))
        if alpha
    ]
    if not ways:
        return images, targets
    return ways[0]() if len(ways) == 1 else lax.cond(random.bernoulli(choose_key), *ways)


def _augmented(images: Array, resolution: int, augment: Augment, key: Array) -> Array:
    """Pixels from 0 to 1."""
    place_key, flip_key, policy_key, light_key = random.split(key, 4)
    pixels = images.astype(jnp.float32) / 255
    if augment.shift or augment.zoom:
        pixels = _resize_at_random(pixels, resolution, place_key, augment.shift, augment.zoom)
    else:
        pixels = _resize(pixels, resolution)
    if augment.flip:
        flipped = random.bernoulli(flip_key, shape=(len(pixels), 1, 1, 1))
        pixels = jnp.where(flipped, pixels[:, :, ::-1], pixels)
    if augment.policy:
        grey_levels = jnp.round(255 * pixels).astype(jnp.uint8)
        pixels = _by_policy(grey_levels, augment, policy_key).astype(jnp.float32) / 255
    if augment.lighting:
        pixels = policies.lighting(pixels, light_key, augment.lighting)
    return pixels


def _by_policy(images: Array, augment: Augment, key: Array) -> Array:
    if augment.policy == "autoaugment":
        return policies.autoaugment(images, key)
    layers, magnitude = augment.randaugment_layers, augment.randaugment_magnitude
    return policies.randaugment(images, key, layers, magnitude)


def _resize(pixels: Array, resolution: int) -> Array:
    if pixels.shape[1:3] == (resolution, resolution):
        return pixels
    shape = (pixels.shape[0], resolution, resolution, pixels.shape[3])
    return jax.image.resize(pixels, shape, "linear")


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
