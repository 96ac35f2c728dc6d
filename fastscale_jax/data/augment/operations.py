"""Operations by name and magnitude, as policies and users write them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from fastscale_jax.data.augment import image_ops


class Range(NamedTuple):
    """Values at magnitudes 0 and 1, linear between them; `has_sign`: a random sign is applied."""

    low: float
    high: float
    has_sign: bool = False


# As in EfficientNet's and the reference's code, after arXiv:1805.09501, appendix. The increasing
# variants (`_inc`) do nothing at magnitude 0, where possible.
RANGES = {
    "auto_contrast": Range(0, 1),
    "equalize": Range(0, 1),
    "invert": Range(0, 1),
    "rotate": Range(0, 30, has_sign=True),  # degrees
    "posterize": Range(0, 4),  # bits kept, at least 1
    "posterize_inc": Range(0, 4),  # bits fewer than 4, at least 1 kept
    "solarize": Range(0, 256),  # lowest inverted level
    "solarize_inc": Range(0, 256),  # number of inverted levels
    "solarize_add": Range(0, 110),  # levels
    "color": Range(0.1, 1.9),  # PIL's factors
    "contrast": Range(0.1, 1.9),
    "brightness": Range(0.1, 1.9),
    "sharpness": Range(0.1, 1.9),
    "color_inc": Range(0, 0.9, has_sign=True),  # added to the factor 1
    "contrast_inc": Range(0, 0.9, has_sign=True),
    "brightness_inc": Range(0, 0.9, has_sign=True),
    "sharpness_inc": Range(0, 0.9, has_sign=True),
    "shear_x": Range(0, 0.3, has_sign=True),  # pixels per pixel
    "shear_y": Range(0, 0.3, has_sign=True),
    "trans_x": Range(0, 0.45, has_sign=True),  # shares of the side
    "trans_y": Range(0, 0.45, has_sign=True),
}


def level_of(name: str, magnitude: float, sign: int = 1) -> tuple[int, float]:
    """Returns the operation as an index in `image_ops.NAMES`, and its level.

    Args:
        name: a key of `RANGES`.
        magnitude: from 0 to 1.
        sign: 1 or -1; ignored by operations without a sign.

    Raises:
        ValueError: the name, magnitude or sign is invalid.
    """
    if name not in RANGES:
        raise ValueError(f"unknown operation {name!r}; choose one of {', '.join(RANGES)}")
    if not 0 <= magnitude <= 1:
        raise ValueError(f"magnitude must be from 0 to 1; got {magnitude}")
    if sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1; got {sign}")
    low, high, has_sign = RANGES[name]
    value = low + magnitude * (high - low)
    signed = sign * value if has_sign else value
    plain = name.removesuffix("_inc")
    return image_ops.NAMES.index(plain), _level(plain, signed, increasing=plain != name)


def _level(name: str, value: float, *, increasing: bool) -> float:
    match name:
        case "posterize":
            return max(1, 4 - int(value) if increasing else int(value))
        case "solarize":
            return 256 - int(value) if increasing else int(value)
        case "solarize_add":
            return int(value)
        case _:
            return 1 + value if increasing else value


def apply_operation(images: ArrayLike, name: str, magnitude: float, sign: int = 1) -> Array:
    """Returns all images after the same operation.

    Args:
        images: `[batch, h, w, 3]` uint8.
        name: a key of `RANGES`.
        magnitude: from 0 to 1.
        sign: 1 or -1; ignored by operations without a sign.

    Returns:
        `[batch, h, w, 3]` uint8, equal to PIL's result. Operations that move pixels may differ by
        one level, where PIL's rounding errors decide.

    Raises:
        ValueError: the name, magnitude or sign is invalid.
    """
    images = jnp.asarray(images)
    operation, level = level_of(name, magnitude, sign)
    shape = (len(images), 1)
    return _operate(images, jnp.full(shape, operation), jnp.full(shape, level, jnp.float32))


_operate = jax.jit(image_ops.operate)  # without jit, the loop in it would be compiled at each call
