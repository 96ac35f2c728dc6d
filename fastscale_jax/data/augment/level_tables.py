"""Tables that send each of 256 levels to a new one, as PIL's operations on levels do.

Each takes the old levels `[256, 1]` int32, the image's statistics, and the operation's level, and
returns the new levels, `[256, 1]` or, where they differ between channels, `[256, 3]`.
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
    """Statistics of an image, for tables; each is computed when it is asked for."""

    def extremes(self) -> tuple[Array, Array]:
        """Returns the lowest and the highest level of each channel: `[3]` int32 each."""
        ...

    def counts(self) -> Array:
        """Returns how many pixels have each level in each channel: `[256, 3]` int32."""
        ...

    def mean_grey(self) -> Array:
        """Returns the mean of `pixels.grey`, rounded: int32."""
        ...

    def are_in(self, values: Array, known: Array) -> Array:
        """Returns whether each value is among the known ones, which are sorted: bools.

        It depends on no image; it is a method because TPUs look values up in another way.
        """
        ...


class ImageStatistics:
    """Statistics of an image `[h, w, 3]` uint8, by gathers and scatters."""

    def __init__(self, image: Array) -> None:
        """Takes the image, `[h, w, 3]` uint8."""
        self._image = image

    def extremes(self) -> tuple[Array, Array]:
        """Returns the lowest and the highest level of each channel: `[3]` int32 each."""
        low, high = self._image.min((0, 1)), self._image.max((0, 1))
        return low.astype(jnp.int32), high.astype(jnp.int32)

    def counts(self) -> Array:
        """Returns how many pixels have each level in each channel: `[256, 3]` int32."""
        levels, counts = self._image.astype(jnp.int32), jnp.zeros((256, 3), jnp.int32)
        return counts.at[levels, jnp.arange(3)].add(1, mode="promise_in_bounds")

    def mean_grey(self) -> Array:
        """Returns the mean of `pixels.grey`, rounded: int32."""
        levels = grey(self._image)
        return (2 * jnp.sum(levels, dtype=jnp.int32) + levels.size) // (2 * levels.size)

    def are_in(self, values: Array, known: Array) -> Array:
        """Returns whether each value is among the known ones, which are sorted."""
        return known.at[jnp.searchsorted(known, values)].get(mode="clip") == values


Table = Callable[[Array, Statistics, Array], Array]
Choose = Callable[..., Array]  # takes a branch's index, the branches, and their arguments


def auto_contrast(old: Array, image: Statistics, level: Array) -> Array:
    """Each channel's darkest level becomes 0, its brightest 255; `level` is not used."""
    del level
    low, high = image.extremes()
    extent = jnp.maximum(high - low, 1)
    stretched = (old - low) * 255 // extent - _is_short(image, low, high, old)
    return jnp.where(high > low, stretched, old)


def equalize(old: Array, image: Statistics, level: Array) -> Array:
    """Each channel's levels become about equally frequent; `level` is not used."""
    del level
    counts = image.counts()
    below = jnp.cumsum(counts, 0) - counts
    # the pixels, without those of the brightest level, are divided into 255 steps of whole pixels
    step = jnp.where(counts > 0, below, 0).max(0) // 255
    spread = (below + step // 2) // jnp.maximum(step, 1)
    return jnp.where(step > 0, spread, old)


def invert(old: Array, image: Statistics, level: Array) -> Array:
    """White becomes black; `level` is not used."""
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
    """Blends mean grey with the image: 0 is all grey, 1 the image, and more raises the contrast."""
    return blend(image.mean_grey(), old, level)


def brightness(old: Array, image: Statistics, level: Array) -> Array:
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


def table_of(choose: Choose, image: Statistics, which: Array, level: Array) -> Array:
    """Returns the new levels of an operation: `[256, 3]` uint8.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        image: the image's statistics.
        which: the table's index in `TABLES`.
        level: the operation's argument.
    """
    old = jnp.arange(256, dtype=jnp.int32)[:, None]
    old, which, level = varying_alike(old, which, level)
    tables = [_as_levels(new, image) for new in TABLES.values()]
    return choose(which, tables, old, level)


def _as_levels(new: Table, image: Statistics) -> Callable[[Array, Array], Array]:
    def clipped(old: Array, level: Array) -> Array:
        levels = jnp.clip(new(old, image, level), 0, 255).astype(jnp.uint8)
        return jnp.broadcast_to(levels, (256, 3))

    return clipped


def _is_short(image: Statistics, low: Array, high: Array, level: Array) -> Array:
    """1 where PIL's stretched level is 1 below the exact one rounded down, else 0: `[256, 3]`."""
    asked = _code(low, high, level)
    return image.are_in(asked, jnp.asarray(_short_codes())).astype(jnp.int32)


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
