"""The operations for GPUs: for all images of a batch at once, with few bytes between kernels.

A pixel is one int32, as in `packed`. An array of three channels would be written, and transposed,
for each step of an operation, and its gathers and scatters would have an index for each channel.
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
        """Returns how many pixels have each level in each channel: `[256, 3]` int32."""
        none = jnp.zeros((256,), jnp.int32)
        # as a list of pixels; XLA writes the indices of `[h, w]` to memory before the scatter
        levels = (channel.ravel() for channel in self._channels)
        each = [none.at[x].add(1, mode="promise_in_bounds") for x in levels]
        return jnp.stack(each, -1)

    def are_in(self, values: Array, known: Array) -> Array:
        """Returns whether each value is among the known ones, which are sorted.

        The search is unrolled: a loop would have two kernels and two copies a step.
        """
        at = jnp.searchsorted(known, values, method="scan_unrolled")
        return known.at[at].get(mode="clip") == values


def looked_up(choose: Choose, words: Array, which: Array, level: Array) -> Array:
    """Returns a packed image whose levels are replaced by those of a table.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        words: the packed image, `[h, w]` int32.
        which: the table's index in `level_tables.TABLES`.
        level: the operation's argument.
    """
    table = table_of(choose, GatheredStatistics(words), which, level)
    channels = zip(table.T, channels_of(words), strict=True)
    return joined([new.at[old].get(mode="promise_in_bounds") for new, old in channels])


def moved(choose: Choose, words: Array, which: Array, level: Array) -> Array:
    """Returns a packed image moved by one of `affine.MAPS`.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        words: the packed image, `[h, w]` int32.
        which: the map's index in `affine.MAPS`.
        level: the operation's argument.
    """
    height, width = words.shape
    x, y = sources(coefficients(choose, which, level, height, width), height, width)
    left, right = clipped_pair(x, width)
    top, bottom = clipped_pair(y, height)
    corners = [
        channels_of(words.at[row, column].get(mode="promise_in_bounds"))
        for row in (top, bottom)
        for column in (left, right)
    ]
    channels = zip(*corners, strict=True)
    return joined([between(levels, x, y, height, width) for levels in channels])
