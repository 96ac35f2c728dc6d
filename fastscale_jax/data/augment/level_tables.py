"""Tables that send each of 256 levels to a new one, as PIL's operations on levels do.

Each takes the old levels `[256, 1]` int32, the image `[h, w, 3]` uint8, and the operation's level,
and returns the new levels, `[256, 1]` or, where they differ between channels, `[256, 3]`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from fastscale_jax.data.augment.pixels import blend, grey
from fastscale_jax.utils.varying import varying_alike

Table = Callable[[Array, Array, Array], Array]
Choose = Callable[..., Array]  # takes a branch's index, the branches, and their arguments


def auto_contrast(old: Array, image: Array, level: Array) -> Array:
    """Each channel's darkest level becomes 0, its brightest 255; `level` is not used."""
    del level
    low = image.min((0, 1)).astype(jnp.int32)
    high = image.max((0, 1)).astype(jnp.int32)
    extent = jnp.maximum(high - low, 1)
    stretched = (old - low) * 255 // extent - _is_short(low, high, old)
    return jnp.where(high > low, stretched, old)


def equalize(old: Array, image: Array, level: Array) -> Array:
    """Each channel's levels become about equally frequent; `level` is not used."""
    del level
    counts = jnp.zeros((256, 3), jnp.int32)
    counts = counts.at[image.astype(jnp.int32), jnp.arange(3)].add(1, mode="promise_in_bounds")
    below = jnp.cumsum(counts, 0) - counts
    # the pixels, without those of the brightest level, are divided into 255 steps of whole pixels
    step = below[image.max((0, 1)).astype(jnp.int32), jnp.arange(3)] // 255
    spread = (below + step // 2) // jnp.maximum(step, 1)
    return jnp.where(step > 0, spread, old)


def invert(old: Array, image: Array, level: Array) -> Array:
    """White becomes black; `level` is not used."""
    del image, level
    return 255 - old


def posterize(old: Array, image: Array, level: Array) -> Array:
    """Keeps the `level` highest bits."""
    del image
    return old & ~((1 << (8 - level.astype(jnp.int32))) - 1)


def solarize(old: Array, image: Array, level: Array) -> Array:
    """Inverts levels of at least `level`."""
    del image
    return jnp.where(level > old, old, 255 - old)


def solarize_add(old: Array, image: Array, level: Array) -> Array:
    """Adds `level` to levels under 128."""
    del image
    return jnp.where(old < 128, old + level.astype(jnp.int32), old)


def contrast(old: Array, image: Array, level: Array) -> Array:
    """Blends mean grey with the image: 0 is all grey, 1 the image, and more raises the contrast."""
    height, width, _ = image.shape
    pixels = height * width
    mean = (2 * jnp.sum(grey(image), dtype=jnp.int32) + pixels) // (2 * pixels)
    return blend(mean, old, level)


def brightness(old: Array, image: Array, level: Array) -> Array:
    """Blends black with the image: 0 is black, 1 the image, 2 is twice as bright."""
    del image
    return blend(0, old, level)


TABLES: dict[str, Table] = {
    table.__name__: table
    for table in (
        auto_contrast,
        equalize,
        invert,
        posterize,
        solarize,
        solarize_add,
        contrast,
        brightness,
    )
}


def look_up(choose: Choose, image: Array, which: Array, level: Array) -> Array:
    """Returns an image, its levels replaced by those of a table.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        image: `[h, w, 3]` uint8.
        which: the table's index in `TABLES`.
        level: the operation's argument.
    """
    old = jnp.arange(256, dtype=jnp.int32)[:, None]
    old, image, which, level = varying_alike(old, image, which, level)
    table = choose(which, [_as_levels(new) for new in TABLES.values()], old, image, level)
    return table.at[image.astype(jnp.int32), jnp.arange(3)].get(mode="promise_in_bounds")


def _as_levels(new: Table) -> Table:
    def clipped(*args: Array) -> Array:
        return jnp.broadcast_to(jnp.clip(new(*args), 0, 255).astype(jnp.uint8), (256, 3))

    return clipped


def _is_short(low: Array, high: Array, level: Array) -> Array:
    """Where PIL's stretched level is 1 less than the exact quotient, rounded down: `[256, 3]`."""
    codes = jnp.asarray(_short_codes())
    asked = _code(low, high, level)
    nearest = codes.at[jnp.searchsorted(codes, asked)].get(mode="clip")
    return (nearest == asked).astype(jnp.int32)


@functools.cache
def _short_codes() -> np.ndarray:
    """Every (low, high, level) at which PIL's doubles fall just short of a whole number."""
    codes = []
    for low in range(255):
        high, level = np.meshgrid(np.arange(low + 1, 256), np.arange(low, 256), indexing="ij")
        scale = 255.0 / (high - low)
        stretched = np.trunc(level * scale + -low * scale)
        is_short = (level <= high) & (stretched < (level - low) * 255 // (high - low))
        codes.append(_code(low, high, level)[is_short])
    return np.sort(np.concatenate(codes)).astype(np.int32)


def _code(low: Any, high: Any, level: Any) -> Any:
    return (low * 256 + high) * 256 + level
