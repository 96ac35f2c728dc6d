"""PIL's arithmetic on levels from 0 to 255: grey, blending, smoothing."""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike


def grey(image: Array) -> Array:
    """Returns the luma of ITU-R BT.601 in PIL's fixed point: `[h, w, 1]` int32.

    Args:
        image: `[h, w, 3]` uint8.
    """
    return luma(*jnp.split(image.astype(jnp.int32), 3, axis=-1))


def luma(red: Array, green: Array, blue: Array) -> Array:
    """Returns the luma of `grey`, from int32 levels of one shape: int32 of that shape."""
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def smooth(image: Array) -> Array:
    """Returns weighted means of 3x3 pixels, with weight 5 for the middle one: int32.

    Pixels at the border are unchanged.

    Args:
        image: `[h, w, 3]`, or one channel of it, `[h, w]`; whole levels.
    """
    height, width = image.shape[:2]
    levels = image.astype(jnp.int32)
    if min(height, width) < 3:
        return levels
    rows = levels[:-2] + levels[1:-1] + levels[2:]
    sums = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * levels[1:-1, 1:-1]
    return levels.at[1:-1, 1:-1].set((2 * sums + 13) // 26)


def blend(base: ArrayLike, image: ArrayLike, factor: Array) -> Array:
    """Returns `base + factor * (image - base)`, rounded down, from 0 to 255: uint8.

    The result is equal to that of `PIL.Image.blend`, which rounds the product to float32 before the
    sum.

    Args:
        base: whole levels, of any shape that fits the image's.
        image: whole levels.
        factor: weight of the image; above 1 the base's weight is negative.
    """
    start = jnp.asarray(base, jnp.float32)
    difference = jnp.asarray(image, jnp.float32) - start
    # A compiler may fuse a product with the following sum and skip the rounding between them. The
    # factor is split so that both products are exact: then fusing changes nothing.
    coarse = lax.reduce_precision(factor, exponent_bits=8, mantissa_bits=11)
    product = coarse * difference + (factor - coarse) * difference
    return jnp.clip(start + product, 0, 255).astype(jnp.uint8)
