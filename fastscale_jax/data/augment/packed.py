"""The operations in a form for TPUs: no gathers, and no axis of three channels.

A TPU gathers pixels one by one in a loop, and pads an axis of 3 to 128. So a pixel is one int32:
red in the lowest byte, then green, then blue. A lookup is a sum over all possible indices, in which
only one term is not 0. XLA computes such a sum in one kernel that reads its operands once.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from fastscale_jax.data.augment.affine import before, between, coefficients, sources
from fastscale_jax.data.augment.level_tables import Choose, table_of
from fastscale_jax.data.augment.pixels import blend, luma, smooth

_ROWS = 4  # source rows that a result row may read in one column; see `_first_rows`
_SLACK = 2.0**-6  # pixels; exceeds the rounding errors of a row's position


def packed(image: Array) -> Array:
    """Returns an image `[h, w, 3]` uint8 as `[h, w]` int32."""
    return joined([image[..., channel] for channel in range(3)])


def unpacked(words: Array) -> Array:
    """Returns a packed image `[h, w]` int32 as `[h, w, 3]` uint8."""
    return jnp.stack(channels_of(words), -1).astype(jnp.uint8)


def channels_of(words: Array) -> list[Array]:
    """Returns red, green and blue, `[h, w]` int32 each."""
    return [words >> 8 * channel & 255 for channel in range(3)]


def joined(channels: Sequence[Array]) -> Array:
    """Returns a packed image `[h, w]` int32, from red, green and blue `[h, w]`."""
    red, green, blue = (levels.astype(jnp.int32) for levels in channels)
    return red | green << 8 | blue << 16


class PackedStatistics:
    """Statistics of a packed image, without gathers and scatters; see `level_tables.Statistics`."""

    def __init__(self, words: Array) -> None:
        """Stores the packed image, `[h, w]` int32."""
        self._channels = channels_of(words)

    def extremes(self) -> tuple[Array, Array]:
        """Returns the lowest and the highest level of each channel: `[3]` int32 each."""
        lowest, highest = zip(*((x.min(), x.max()) for x in self._channels), strict=True)
        return jnp.stack(lowest), jnp.stack(highest)

    def counts(self) -> Array:
        """Returns the number of pixels with each level, per channel: `[256, 3]` int32."""
        levels = jnp.arange(256)[:, None, None]
        each = [jnp.sum(x == levels, (1, 2), dtype=jnp.int32) for x in self._channels]
        return jnp.stack(each, -1)

    def mean_grey(self) -> Array:
        """Returns the mean of the luma, rounded: int32."""
        grey = luma(*self._channels)
        return (2 * grey.sum(dtype=jnp.int32) + grey.size) // (2 * grey.size)

    def are_in(self, values: Array, known: Array) -> Array:
        """Returns whether each value is in `known`."""
        return jnp.isin(values, known, method="compare_all")


def looked_up(choose: Choose, words: Array, index: Array, level: Array) -> Array:
    """Returns a packed image whose levels are replaced by those of a table.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        words: the packed image, `[h, w]` int32.
        index: the table's index in `level_tables.TABLES`.
        level: the operation's argument.
    """
    table = table_of(choose, PackedStatistics(words), index, level).astype(jnp.int32)
    old = jnp.arange(256)[:, None, None]
    channels = enumerate(channels_of(words))
    red, green, blue = (
        jnp.where(x == old, table[:, c, None, None] << 8 * c, 0) for c, x in channels
    )
    return (red + green + blue).sum(0)  # only one of a channel's 256 terms is not 0


def moved(choose: Choose, words: Array, index: Array, level: Array) -> Array:
    """Returns a packed image moved by one of `affine.MAPS`.

    There are two passes. For each row of the result and each column of the source, the first pass
    takes the `_ROWS` pixels that the row may read in this column. The second pass takes the
    columns.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        words: the packed image, `[h, w]` int32.
        index: the map's index in `affine.MAPS`.
        level: the operation's argument; rotations are below 45 degrees, and shears below 1.
    """
    height, width = words.shape
    map_ = coefficients(choose, index, level, height, width)
    x, y = sources(map_, height, width)
    rows = _rows(words, _first_rows(map_, height, width))
    corners = [channels_of(word) for word in _corners(rows, before(x), before(y))]
    return joined([between(levels, x, y, height, width) for levels in zip(*corners, strict=True)])


def _first_rows(map_: Array, height: int, width: int) -> Array:
    """The first row of the source that each row of the result reads in each column.

    It reads that row and at most the `_ROWS - 1` rows below it, if the map rotates by less than 45
    degrees and shears by less than 1.

    Returns:
        `[h, w + 2]` int32; the first and the last column are one pixel outside the source.
    """
    (a, b, c), (d, e, f) = map_
    rows = jnp.arange(height)[:, None] + (0.5 - height / 2)
    columns = jnp.arange(-1, width + 1) + (0.5 - width / 2)
    slope = d / a
    # a column is used for positions up to one pixel left or right of it
    positions = [e * rows + slope * (columns + side - b * rows - c) + f for side in (-1, 1)]
    return before(jnp.minimum(*positions) + (height / 2 - _SLACK))


def _rows(words: Array, first: Array) -> tuple[Array, ...]:
    """The source's pixels from row `first` down, for each row of the result and each column.

    Returns:
        `_ROWS` images `[h, w + 2]`; outside the source its edge is repeated. The highest byte of
        the first image is not used by a channel; it has the lowest byte of `first`.
    """
    height, beyond = len(words), _ROWS - 1
    first = jnp.clip(first, -beyond, height)
    padded = jnp.pad(words, ((beyond, beyond + 1), (1, 1)), "edge")
    row = jnp.arange(-beyond, height + beyond + 1)[:, None]
    rows = _sums([jnp.where(row - j == first[:, None], padded, 0) for j in range(_ROWS)])
    return rows[0] | first << 24, *rows[1:]


def _corners(rows: tuple[Array, ...], column: Array, row: Array) -> list[Array]:
    """The four pixels around each position, `[h, w]` each, in the order of `affine.between`.

    `column` and `row`, `[h, w]`, are the indices of the upper left pixel.
    """
    columns = jnp.arange(-1, column.shape[1] + 1)[:, None]
    is_left, is_right = columns == column[:, None], columns == column[:, None] + 1
    first, second, third, fourth = (x[:, :, None] for x in rows)
    offset = (row[:, None] - (first >> 24)) & 255  # rows below the first, modulo 256
    upper, lower = (
        jnp.where(offset == 0, x, jnp.where(offset == 1, y, z))
        for x, y, z in ((first, second, third), (second, third, fourth))
    )
    return _sums(
        [jnp.where(is_column, x, 0) for x in (upper, lower) for is_column in (is_left, is_right)]
    )


def _sums(arrays: list[Array]) -> list[Array]:
    """The sums of arrays over their second axis, in one kernel for all of them."""
    zeros = [jnp.zeros((), jnp.int32)] * len(arrays)
    return lax.reduce(arrays, zeros, _added, (1,))


def _added(sums: Sequence[Array], new: Sequence[Array]) -> list[Array]:
    return [x + y for x, y in zip(sums, new, strict=True)]


def blended(choose: Choose, words: Array, index: Array, level: Array) -> Array:
    """Returns a packed image blended with a copy of itself.

    Args:
        choose: `lax.switch`, or a function that replaces it.
        words: the packed image, `[h, w]` int32.
        index: the copy's index in `image_ops.COPIES`.
        level: weight of the image; above 1 the copy's weight is negative.
    """
    channels = channels_of(words)
    copies = [lambda x: luma(*channels), smooth]  # in the order of `image_ops.COPIES`
    copied = [choose(index, copies, x) for x in channels]
    return joined([blend(base, x, level) for base, x in zip(copied, channels, strict=True)])
