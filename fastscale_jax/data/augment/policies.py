"""Random augmentation of each image: AutoAugment, RandAugment, and AlexNet's lighting."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, random
from jax.typing import ArrayLike

from fastscale_jax.data.augment.image_ops import NAMES, operate
from fastscale_jax.data.augment.operations import level_of

# Each image gets one line: two (operation, probability, magnitude), applied in order. This is the
# policy for ImageNet of EfficientNet's code, there named "v0". The one in the appendix of
# arXiv:1805.09501 differs.
AUTOAUGMENT = (
    (("equalize", 0.8, 0.1), ("shear_y", 0.8, 0.4)),
    (("color", 0.4, 0.9), ("equalize", 0.6, 0.3)),
    (("color", 0.4, 0.1), ("rotate", 0.6, 0.8)),
    (("solarize", 0.8, 0.3), ("equalize", 0.4, 0.7)),
    (("solarize", 0.4, 0.2), ("solarize", 0.6, 0.2)),
    (("color", 0.2, 0.0), ("equalize", 0.8, 0.8)),
    (("equalize", 0.4, 0.8), ("solarize_add", 0.8, 0.3)),
    (("shear_x", 0.2, 0.9), ("rotate", 0.6, 0.8)),
    (("color", 0.6, 0.1), ("equalize", 1.0, 0.2)),
    (("invert", 0.4, 0.9), ("rotate", 0.6, 0.0)),
    (("equalize", 1.0, 0.9), ("shear_y", 0.6, 0.3)),
    (("color", 0.4, 0.7), ("equalize", 0.6, 0.0)),
    (("posterize", 0.4, 0.6), ("auto_contrast", 0.4, 0.7)),
    (("solarize", 0.6, 0.8), ("color", 0.6, 0.9)),
    (("solarize", 0.2, 0.4), ("rotate", 0.8, 0.9)),
    (("rotate", 1.0, 0.7), ("trans_y", 0.8, 0.9)),
    (("shear_x", 0.0, 0.0), ("solarize", 0.8, 0.4)),
    (("shear_y", 0.8, 0.0), ("color", 0.6, 0.4)),
    (("color", 1.0, 0.0), ("rotate", 0.6, 0.2)),
    (("equalize", 0.8, 0.4), ("equalize", 0.0, 0.8)),
    (("equalize", 1.0, 0.4), ("auto_contrast", 0.6, 0.2)),
    (("shear_y", 0.4, 0.7), ("solarize_add", 0.6, 0.7)),
    (("posterize", 0.8, 0.2), ("solarize", 0.6, 1.0)),
    (("solarize", 0.6, 0.8), ("equalize", 0.6, 0.1)),
    (("color", 0.8, 0.6), ("rotate", 0.4, 0.5)),
)

# Operations of arXiv:1909.13719, in the increasing variants, without `identity`.
RANDAUGMENT = (
    "auto_contrast",
    "equalize",
    "invert",
    "rotate",
    "posterize_inc",
    "solarize_inc",
    "solarize_add",
    "color_inc",
    "contrast_inc",
    "brightness_inc",
    "sharpness_inc",
    "shear_x",
    "shear_y",
    "trans_x",
    "trans_y",
)

# Eigenvalues and eigenvectors (columns) of the covariance of ImageNet's RGB values from 0 to 1.
# Source: fb.resnet.torch, datasets/imagenet.lua.
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045], np.float32)
EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], np.float32
)


class Draw(NamedTuple):
    """Operations drawn for each image, in order."""

    operations: Array  # [batch, layers] int32, indices in `image_ops.NAMES`
    levels: Array  # [batch, layers] float32, in the operations' units


def autoaugment(images: ArrayLike, keys: Array) -> Array:
    """Returns images after AutoAugment's policy for ImageNet; arXiv:1805.09501.

    Args:
        images: `[batch, h, w, 3]` uint8.
        keys: `[batch]`; each draws one of `AUTOAUGMENT`'s 25 lines, whether each of its operations
            is applied, and its sign.

    Returns:
        `[batch, h, w, 3]` uint8.
    """
    return operate(jnp.asarray(images), *sample_autoaugment(keys))


def randaugment(images: ArrayLike, keys: Array, layers: int = 2, magnitude: float = 0.5) -> Array:
    """Returns images after RandAugment; arXiv:1909.13719.

    Args:
        images: `[batch, h, w, 3]` uint8.
        keys: `[batch]`; each draws operations and signs.
        layers: operations per image, each drawn from `RANDAUGMENT`.
        magnitude: magnitude of each operation, from 0 to 1; not traced.

    Returns:
        `[batch, h, w, 3]` uint8.

    Raises:
        ValueError: the magnitude is not from 0 to 1.
    """
    return operate(jnp.asarray(images), *sample_randaugment(keys, layers, magnitude))


def sample_autoaugment(keys: Array) -> Draw:
    """Draws AutoAugment's operations for each image of a batch; `keys` are `[batch]`."""
    operations, probabilities, levels = map(jnp.asarray, _autoaugment_tables())
    identity = NAMES.index("identity")

    def of_image(key: Array) -> Draw:
        line_key, apply_key, sign_key = random.split(key, 3)
        line = random.randint(line_key, (), 0, len(AUTOAUGMENT))
        is_applied = random.bernoulli(apply_key, probabilities[line])
        return Draw(
            jnp.where(is_applied, operations[line], identity), _either(sign_key, levels[line])
        )

    return jax.vmap(of_image)(keys)


def sample_randaugment(keys: Array, layers: int, magnitude: float) -> Draw:
    """Draws RandAugment's operations for each image of a batch; `keys` are `[batch]`.

    Raises:
        ValueError: the magnitude is not from 0 to 1.
    """
    operations, levels = map(
        jnp.asarray, _with_both_signs([(name, magnitude) for name in RANDAUGMENT])
    )

    def of_image(key: Array) -> Draw:
        operation_key, sign_key = random.split(key)
        drawn = random.randint(operation_key, (layers,), 0, len(RANDAUGMENT))
        return Draw(operations[drawn], _either(sign_key, levels[drawn]))

    return jax.vmap(of_image)(keys)


def lighting(pixels: Array, keys: Array, std: float = 0.1) -> Array:
    """Returns images, each shifted in colour along the principal axes of ImageNet's colours.

    As in AlexNet's paper, section 4.1. Results may be outside [0, 1].

    Args:
        pixels: `[batch, h, w, 3]` floats from 0 to 1, RGB.
        keys: `[batch]`; each draws the shifts along the axes.
        std: standard deviation of the shifts, in units of the eigenvalues.
    """
    alphas = jax.vmap(lambda key: random.normal(key, (3,)))(keys)
    shifts = std * alphas * EIGENVALUES @ EIGENVECTORS.T
    return pixels + shifts[:, None, None].astype(pixels.dtype)


@functools.cache
def _autoaugment_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operations and probabilities `[25, 2]`, and levels with both signs `[25, 2, 2]`."""
    steps = [step for line in AUTOAUGMENT for step in line]
    operations, levels = _with_both_signs([(name, magnitude) for name, _, magnitude in steps])
    shape = len(AUTOAUGMENT), 2
    probabilities = np.array([probability for _, probability, _ in steps], np.float32)
    return operations.reshape(shape), probabilities.reshape(shape), levels.reshape(*shape, 2)


def _with_both_signs(steps: list[tuple[str, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Each step's operation `[steps]`, and its levels with both signs `[steps, 2]`."""
    pairs = [[level_of(*step, sign) for sign in (1, -1)] for step in steps]
    operations = np.array([operation for (operation, _), _ in pairs], np.int32)
    return operations, np.array([[level for _, level in both] for both in pairs], np.float32)


def _either(key: Array, levels: Array) -> Array:
    """The first or the second element of the last axis, with equal probability."""
    is_second = random.bernoulli(key, shape=levels.shape[:-1])
    return jnp.where(is_second, levels[..., 1], levels[..., 0])
