"""Tables that replace each of 256 levels by a new one, as PIL's operations on levels.

Each function takes the old levels `[256, 1]` int32, the image's statistics, and the operation's
level. It returns the new levels: `[256, 1]`, or `[256, 3]` if they differ between channels.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

from fastscale_jax.data.augment.pixels import blend, grey
from fastscale_jax.utils.varying import varying_alike


class Statistics(Protocol):
    """Statistics of an image, for tables; each is computed on request."""

    def extremes(self) -> tuple[Array, Array]:
        """Returns the lowest and the highest level of each channel: `[3]` int32 each."""
        ...

    def counts(self) -> Array:
        """Returns the number of pixels with each level, per channel: `[256, 3]` int32."""
        ...

    def mean_grey(self) -> Array:
        """Returns the mean of `pixels.grey`, rounded: int32."""
        ...

    def are_in(self, values: Array, known: Array) -> Array:
        """Returns whether each value is in `known`, which is sorted: bools.

        It does not depend on the image; it is a method because TPUs look values up differently.
        """
        ...


class ImageStatistics:
    """Statistics of an image `[h, w, 3]` uint8, by gathers and scatters."""

    def __init__(self, image: Array) -> None:
        """Stores the image, `[h, w, 3]` uint8."""
        self._image = image

    def extremes(self) -> tuple[Array, Array]:
        """Returns the lowest and the highest level of each channel: `[3]` int32 each."""
        low, high = self._image.min((0, 1)), self._image.max((0, 1))
        return low.astype(jnp.int32), high.astype(jnp.int32)

    def counts(self) -> Array:
        """Returns the number of pixels with each level, per channel: `[256, 3]` int32."""
        levels, counts = self._image.astype(jnp.int32), jnp.zeros((256, 3), jnp.int32)
        return counts.at[levels, jnp.arange(3)].add(1, mode="promise_in_bounds")

    def mean_grey(self) -> Array:
        """Returns the mean of `pixels.grey`, rounded: int32."""
        levels = grey(self._image)
        return (2 * jnp.sum(levels, dtype=jnp.int32) + levels.size) // (2 * levels.size)

    def are_in(self, values: Array, known: Array) -> Array:
        """Returns whether each value is in `known`, which is sorted."""
        return known.at[jnp.searchsorted(known, values)].get(mode="clip") == values


Table = Callable[[Array, Statistics, Array], Array]
Choose = Callable[..., Array]  # (index of a branch, branches, *arguments)


def auto_contrast(old: Array, image: Statistics, level: Array) -> Array:
    """Stretches each channel's levels to the range from 0 to 255; ignores `level`."""
    del level
    low, high = image.extremes()
    extent = jnp.maximum(high - low, 1)
    stretched = (old - low) * 255 // extent - _is_short(image, low, high, old)
    return jnp.where(high > low, stretched, old)


def equalize(old: Array, image: Statistics, level: Array) -> Array:
    """Makes each channel's levels about equally frequent; ignores `level`."""
    del level
    counts = image.counts()
    below = jnp.cumsum(counts, 0) - counts
    # pixels, except those of the brightest level, are divided into 255 steps of whole pixels
    step = jnp.where(counts > 0, below, 0).max(0) // 255
    spread = (below + step // 2) // jnp.maximum(step, 1)
    return jnp.where(step > 0, spread, old)


def invert(old: Array, image: Statistics, level: Array) -> Array:
    """Inverts levels; ignores `level`."""
    del image, level
    return 255 - old


def posterize(old: Array, image: Statistics, level: Array) -> Array:
    """Keeps the `level` highest bits."""
    del image
    return old & ~((1 << (8 - level.astype(jnp.int32))) - 1)


def solarize(old: Array, image: Statistics, level: Array) -> Array:
    """Inverts levels of at least `level`."""
    del image
    return jnp.where(level > old, old, 255 - old)


def solarize_add(old: Array, image: Statistics, level: Array) -> Array:
    """Adds `level` to levels under 128."""
    del image
    return jnp.where(old < 128, old + level.astype(jnp.int32), old)


def contrast(old: Array, image: Statistics, level: Array) -> Array:
    """Blends mean grey with the image: 0: grey, 1: the image, above 1: more contrast."""
    return blend(image.mean_grey(), old, level)


def brightness(old: Array, image: Statistics, level: Array) -> Array:
    """Blends black with the image: 0: black, 1: the image, 2: twice as bright."""
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


def table_of(choose: Choose, image: Statistics, index: Array, level: Array) -> Array:
    """Returns the new levels of an operation: `[256, 3]` uint8.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        image: the image's statistics.
        index: the table's index in `TABLES`.
        level: the operation's argument.
    """
    old = jnp.arange(256, dtype=jnp.int32)[:, None]
    old, index, level = varying_alike(old, index, level)
    tables = [_as_levels(new, image) for new in TABLES.values()]
    return choose(index, tables, old, level)


def _as_levels(new: Table, image: Statistics) -> Callable[[Array, Array], Array]:
    def clipped(old: Array, level: Array) -> Array:
        levels = jnp.clip(new(old, image, level), 0, 255).astype(jnp.uint8)
        return jnp.broadcast_to(levels, (256, 3))

    return clipped


def _is_short(image: Statistics, low: Array, high: Array, level: Array) -> Array:
    """1 where PIL's stretched level is 1 less than the exact floor, else 0: `[256, 3]`."""
    codes = _code(low, high, level)
    return image.are_in(codes, jnp.asarray(_short_codes())).astype(jnp.int32)


@functools.cache
def _short_codes() -> np.ndarray:
    """Codes of each (low, high, level) at which PIL's doubles are just below a whole number."""
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
