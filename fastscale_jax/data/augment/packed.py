"""The operations for TPUs: without gathers, and without an axis of three channels.

A TPU reads single pixels in a loop, and pads an axis of 3 to 128. So an image is one int32 a pixel,
red in the lowest byte, and what is looked up is compared with every value that it may have: a sum
over all of them in which one is not 0. XLA keeps such a sum in one kernel, which reads its
operands once.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax

from fastscale_jax.data.augment.affine import before, between, coefficients, sources
from fastscale_jax.data.augment.level_tables import Choose, table_of
from fastscale_jax.data.augment.pixels import blend, luma, smooth

_ROWS = 4  # that hold what is read in a column; see `_rows`
_SLACK = 2.0**-6  # pixels; exceeds the rounding errors of a row's position


def packed(image: Array) -> Array:
    """Returns an image `[h, w, 3]` uint8 as `[h, w]` int32."""
    return _joined([image[..., channel] for channel in range(3)])


def unpacked(words: Array) -> Array:
    """Returns what was `packed`: `[h, w, 3]` uint8."""
    return jnp.stack(_channels(words), -1).astype(jnp.uint8)


def _channels(words: Array) -> list[Array]:
    return [words >> 8 * channel & 255 for channel in range(3)]


def _joined(channels: Sequence[Array]) -> Array:
    red, green, blue = (levels.astype(jnp.int32) for levels in channels)
    return red | green << 8 | blue << 16


class PackedStatistics:
    """Of a packed image, as `level_tables.Statistics` has them."""

    def __init__(self, words: Array) -> None:
        """Takes the image, `[h, w]`."""
        self._channels = _channels(words)

    def extremes(self) -> tuple[Array, Array]:
        """The lowest and the highest level of each channel."""
        lowest, highest = zip(*((x.min(), x.max()) for x in self._channels), strict=True)
        return jnp.stack(lowest), jnp.stack(highest)

    def counts(self) -> Array:
        """How many pixels have a level in a channel."""
        levels = jnp.arange(256)[:, None, None]
        each = [jnp.sum(x == levels, (1, 2), dtype=jnp.int32) for x in self._channels]
        return jnp.stack(each, -1)

    def mean_grey(self) -> Array:
        """The mean of the luma, rounded."""
        grey = luma(*self._channels)
        return (2 * grey.sum(dtype=jnp.int32) + grey.size) // (2 * grey.size)

    def are_in(self, values: Array, known: Array) -> Array:
        """Whether each value is among others."""
        return jnp.isin(values, known, method="compare_all")


def looked_up(choose: Choose, words: Array, which: Array, level: Array) -> Array:
    """Returns an image, its levels replaced by those of a table; see `image_ops`."""
    table = table_of(choose, PackedStatistics(words), which, level).astype(jnp.int32)
    old = jnp.arange(256)[:, None, None]
    channels = enumerate(_channels(words))
    red, green, blue = (
        jnp.where(x == old, table[:, c, None, None] << 8 * c, 0) for c, x in channels
    )
    return (red + green + blue).sum(0)  # of each channel, one of the 256 is not 0


def moved(choose: Choose, words: Array, which: Array, level: Array) -> Array:
    """Returns an image moved by one of `affine.MAPS`; see `image_ops`.

    It is read in two passes. The first takes for each pixel of the result's rows, column by column,
    the few rows of the source that the result may need there; the second takes their columns.
    """
    height, width = words.shape
    map_ = coefficients(choose, which, level, height, width)
    x, y = sources(map_, height, width)
    rows = _rows(words, _first_rows(map_, height, width))
    corners = [_channels(word) for word in _corners(rows, before(x), before(y))]
    return _joined([between(levels, x, y, height, width) for levels in zip(*corners, strict=True)])


def _first_rows(map_: Array, height: int, width: int) -> Array:
    """The first row that each row of the result reads in each column of the source.

    It reads none beyond the `_ROWS` from there on, if the map turns by less than 45 degrees and
    shears by less than a pixel a pixel.

    Returns:
        `[h, w + 2]` int32; the first and the last column are those outside of the source.
    """
    (a, b, c), (d, e, f) = map_
    rows = jnp.arange(height)[:, None] + (0.5 - height / 2)
    columns = jnp.arange(-1, width + 1) + (0.5 - width / 2)
    slope = d / a
    # of what is read between the columns left and right of this one
    at = [e * rows + slope * (columns + side - b * rows - c) + f for side in (-1, 1)]
    return before(jnp.minimum(*at) + (height / 2 - _SLACK))


def _rows(words: Array, first: Array) -> tuple[Array, ...]:
    """For each row of the result, the source's pixels from `first` on, down each column.

    Returns:
        `_ROWS` images `[h, w + 2]`; outside of the source it goes on as at its edge. The highest
        byte of the first one has the lowest of `first`.
    """
    height, beyond = len(words), _ROWS - 1
    first = jnp.clip(first, -beyond, height)
    padded = jnp.pad(words, ((beyond, beyond + 1), (1, 1)), "edge")
    row = jnp.arange(-beyond, height + beyond + 1)[:, None]
    rows = _sums([jnp.where(row - j == first[:, None], padded, 0) for j in range(_ROWS)])
    return rows[0] | first << 24, *rows[1:]


def _corners(rows: tuple[Array, ...], column: Array, row: Array) -> list[Array]:
    """The pixels at a column and row, and right of it, and those below: four images `[h, w]`."""
    here = jnp.arange(-1, column.shape[1] + 1)[:, None]
    is_left, is_right = here == column[:, None], here == column[:, None] + 1
    first, second, third, fourth = (x[:, :, None] for x in rows)
    offset = row[:, None] - (first >> 24) & 255
    upper, lower = (
        jnp.where(offset == 0, x, jnp.where(offset == 1, y, z))
        for x, y, z in ((first, second, third), (second, third, fourth))
    )
    return _sums(
        [jnp.where(is_here, x, 0) for x in (upper, lower) for is_here in (is_left, is_right)]
    )


def _sums(arrays: list[Array]) -> list[Array]:
    """Sums over the second axis, in one kernel."""
    zeros = [jnp.zeros((), jnp.int32)] * len(arrays)
    return lax.reduce(arrays, zeros, _added, (1,))


def _added(sums: Sequence[Array], new: Sequence[Array]) -> list[Array]:
    return [x + y for x, y in zip(sums, new, strict=True)]


def blended(choose: Choose, words: Array, which: Array, level: Array) -> Array:
    """Returns an image blended with one of `image_ops.COPIES` of it; see there."""
    channels = _channels(words)
    copies = [lambda x: luma(*channels), smooth]
    copied = [choose(which, copies, x) for x in channels]
    return _joined([blend(base, x, level) for base, x in zip(copied, channels, strict=True)])
