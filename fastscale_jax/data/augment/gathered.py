"""The operations in a form for GPUs: all images of a batch at once, few bytes between kernels.

A pixel is one int32, as in `packed`. With an array of three channels, each step of an operation
would write and transpose it, and gathers and scatters would need an index per channel.
"""

import jax.numpy as jnp
from jax import Array

from fastscale_jax.data.augment.affine import between, clipped_pair, coefficients, sources
from fastscale_jax.data.augment.level_tables import Choose, table_of
from fastscale_jax.data.augment.packed import PackedStatistics, channels_of, joined


class GatheredStatistics(PackedStatistics):
    """Statistics of a packed image, by scatters; see `level_tables.Statistics`."""

    def extremes(self) -> tuple[Array, Array]:
        """Returns the lowest and the highest level of each channel: `[3]` int32 each."""
        has_level = self.counts() > 0
        first, last = (x.argmax(0).astype(jnp.int32) for x in (has_level, has_level[::-1]))
        return first, 255 - last

    def counts(self) -> Array:
        """Returns the number of pixels with each level, per channel: `[256, 3]` int32."""
        zeros = jnp.zeros((256,), jnp.int32)
        # flat: for indices `[h, w]`, XLA writes them to memory before the scatter
        levels = (channel.ravel() for channel in self._channels)
        each = [zeros.at[x].add(1, mode="promise_in_bounds") for x in levels]
        return jnp.stack(each, -1)

    def are_in(self, values: Array, known: Array) -> Array:
        """Returns whether each value is in `known`, which is sorted.

        The search is unrolled: a loop would take two kernels and two copies per step.
        """
        at = jnp.searchsorted(known, values, method="scan_unrolled")
        return known.at[at].get(mode="clip") == values


def looked_up(choose: Choose, words: Array, index: Array, level: Array) -> Array:
    """Returns a packed image whose levels are replaced by those of a table.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        words: the packed image, `[h, w]` int32.
        index: the table's index in `level_tables.TABLES`.
        level: the operation's argument.
    """
    table = table_of(choose, GatheredStatistics(words), index, level)
    channels = zip(table.T, channels_of(words), strict=True)
    return joined([new.at[old].get(mode="promise_in_bounds") for new, old in channels])


def moved(choose: Choose, words: Array, index: Array, level: Array) -> Array:
    """Returns a packed image moved by one of `affine.MAPS`.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        words: the packed image, `[h, w]` int32.
        index: the map's index in `affine.MAPS`.
        level: the operation's argument.
    """
    height, width = words.shape
    x, y = sources(coefficients(choose, index, level, height, width), height, width)
    left, right = clipped_pair(x, width)
    top, bottom = clipped_pair(y, height)
    corners = [
        channels_of(words.at[row, column].get(mode="promise_in_bounds"))
        for row in (top, bottom)
        for column in (left, right)
    ]
    channels = zip(*corners, strict=True)
    return joined([between(levels, x, y, height, width) for levels in channels])
