"""Prepares batches on the device: resizing, augmentation, normalisation and mixing."""

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax, random
from jax.typing import ArrayLike

from fastscale_jax.data.augment import mixing, policies
from fastscale_jax.data.augment.augment_config import Augment

# weights of red, green and blue, as in Pillow's mode `L` (ITU-R BT.601)
GREY = (0.299, 0.587, 0.114)


def check_channels(network: str, channels: int) -> None:
    """Refuses a network for images that are neither RGB nor grey.

    Args:
        network: its name, for the message.
        channels: channels of its input images.

    Raises:
        ValueError: `channels` is neither 3 (RGB) nor 1 (grey).
    """
    if channels not in (1, 3):
        raise ValueError(
            f"{network} takes images of {channels} channels, but all sources have RGB images; set "
            "--config.model.in_channels=3, or 1 for grey. In Python, model.apply takes your own "
            "images with any number of channels"
        )


def prepare(
    images: ArrayLike,
    *,
    resolution: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    augment: Augment | None = None,
    keys: Array | None = None,
    channels: int = 3,
) -> Array:
    """Returns images at the network's resolution, augmented and normalised.

    The order is: shift and zoom, flip, policy, lighting. Pixels outside the image are black after
    shift and zoom, and grey after the policy. With one channel, the result is the sum of the
    normalised channels, weighted by `GREY`.

    Args:
        images: `[batch, h, w, 3]` uint8.
        resolution: side of the result, pixels. Resizing is bilinear.
        mean: mean of each channel, with pixels in [0, 1].
        std: standard deviation of each channel, with pixels in [0, 1].
        augment: the augmentation; None: none.
        keys: `[batch]`, keys of the augmentation.
        channels: channels of the result, 3 or 1.

    Returns:
        `[batch, resolution, resolution, channels]` float32.
    """
    images = jnp.asarray(images)
    if augment is None or keys is None:
        pixels = _resize(images.astype(jnp.float32) / 255, resolution)
    else:
        pixels = _augmented(images, resolution, augment, keys)
    normalised = (pixels - jnp.asarray(mean)) / jnp.asarray(std)
    if channels == 1:
        normalised = (normalised * jnp.asarray(GREY)).sum(-1, keepdims=True)
    return normalised


def mixed(images: Array, targets: Array, keys: Array, augment: Augment) -> tuple[Array, Array]:
    """Returns images and targets after mixup or cutmix, if any.

    Args:
        images: `[batch, h, w, channels]`.
        targets: `[batch, num_classes]`, each summing to 1.
        keys: `[groups]`: the batch is split into this many equal groups, each with one random draw.
        augment: has the settings; with both mixup and cutmix, each group gets one at random.
    """
    if not (augment.mixup or augment.cutmix):
        return images, targets
    if len(keys) == 1:
        return _mixed_group(augment, images, targets, keys[0])
    groups = [x.reshape(len(keys), -1, *x.shape[1:]) for x in (images, targets)]
    mix = jax.vmap(functools.partial(_mixed_group, augment))
    mixes = mix(groups[0], groups[1], keys)
    return mixes[0].reshape(images.shape), mixes[1].reshape(targets.shape)


def _mixed_group(
    augment: Augment, images: Array, targets: Array, key: Array
) -> tuple[Array, Array]:
    choose_key, key = random.split(key)
    mixers = [
        functools.partial(mixer, images, targets, key, alpha)
        for mixer, alpha in ((mixing.mixup, augment.mixup), (mixing.cutmix, augment.cutmix))
        if alpha
    ]
    return mixers[0]() if len(mixers) == 1 else lax.cond(random.bernoulli(choose_key), *mixers)


def _augmented(images: Array, resolution: int, augment: Augment, keys: Array) -> Array:
    """The augmented pixels, from 0 to 1."""
    resize_keys, flip_keys, policy_keys, light_keys = jax.vmap(lambda key: random.split(key, 4))(
        keys
    ).T
    pixels = images.astype(jnp.float32) / 255
    if augment.shift or augment.zoom:
        pixels = _resize_at_random(pixels, resolution, resize_keys, augment.shift, augment.zoom)
    else:
        pixels = _resize(pixels, resolution)
    if augment.flip:
        flipped = jax.vmap(random.bernoulli)(flip_keys)[:, None, None, None]
        pixels = jnp.where(flipped, pixels[:, :, ::-1], pixels)
    if augment.policy:
        levels = jnp.round(255 * pixels).astype(jnp.uint8)
        pixels = _by_policy(levels, augment, policy_keys).astype(jnp.float32) / 255
    if augment.lighting:
        pixels = policies.lighting(pixels, light_keys, augment.lighting)
    return pixels


def _by_policy(images: Array, augment: Augment, keys: Array) -> Array:
    if augment.policy == "autoaugment":
        return policies.autoaugment(images, keys)
    layers, magnitude = augment.randaugment_layers, augment.randaugment_magnitude
    return policies.randaugment(images, keys, layers, magnitude)


def _resize(pixels: Array, resolution: int) -> Array:
    if pixels.shape[1:3] == (resolution, resolution):
        return pixels
    shape = (pixels.shape[0], resolution, resolution, pixels.shape[3])
    return jax.image.resize(pixels, shape, "linear")


def _resize_at_random(
    pixels: Array, resolution: int, keys: Array, shift: float, zoom: float
) -> Array:
    _, height, width, channels = pixels.shape
    full = jnp.array([resolution / height, resolution / width])

    def resized(image: Array, key: Array) -> Array:
        shift_key, zoom_key = random.split(key)
        factors = 1 + random.uniform(zoom_key, (2,), minval=-zoom, maxval=zoom)
        moves = random.uniform(shift_key, (2,), minval=-shift, maxval=shift)
        # the image's middle stays in the middle, apart from the shift
        offsets = resolution * (moves + (1 - factors) / 2)
        shape = (resolution, resolution, channels)
        scales = factors * full
        return jax.image.scale_and_translate(image, shape, (0, 1), scales, offsets, "linear")

    return jax.vmap(resized)(pixels, keys)
