"""Strips of the source: the rows that some results read, contiguous in the cache."""

import dataclasses
from typing import NamedTuple

from fastscale_jax.convs.native.emit import Emitter, Value, const
from fastscale_jax.convs.native.plan import Numbers, Plan, Tap

# Size of a strip: some rows of an image. With larger strips fewer rows are copied twice, but a
# strip must fit a core's L2 cache. With a cache of 2 MB, 384 KB was the best of 48 to 384 KB.
_STRIP_BYTES = 384 * 1024


class Place(NamedTuple):
    """Where in the source a strip lies."""

    source: Value  # the array of images
    image: Value
    start: Value  # the first row of results
    channel: Value  # the first channel
    gates: Value | None = None  # factors of the strip's channels; None: 1


@dataclasses.dataclass(frozen=True)
class Strips:
    """The source of a plan in strips: some rows of some channels, padded with zeros.

    Strips are copied, so that borders need no special case and a strip is contiguous in the cache.
    Strips that are whole rows of the source are read without a copy.
    """

    plan: Plan
    numbers: Numbers
    channels: int
    is_gated: bool = False  # whether each channel is multiplied by a gate

    @property
    def are_rows(self) -> bool:
        """Whether strips are whole rows of the source, which need no copy.

        They are in dense 1x1 convs, unless a stride skips the last column or there are gates.
        """
        is_whole = (self.columns, self.channels) == self.plan.source[1:]
        return self.plan.reach == (1, 1) and is_whole and not self.is_gated

    @property
    def columns(self) -> int:
        """Columns of a strip, zeros included."""
        return (self.plan.columns - 1) * self.plan.step + self.plan.reach[1]

    @property
    def results(self) -> int:
        """Rows of results per phase that one strip computes; about the same for all strips."""
        row_bytes = self.columns * self.channels * self.numbers.bytes
        fitting = (_STRIP_BYTES // row_bytes - self.plan.reach[0]) // self.plan.step + 1
        most = max(1, min(self.plan.rows, fitting))
        return -(-self.plan.rows // -(-self.plan.rows // most))

    @property
    def count(self) -> int:
        """Strips per image."""
        return -(-self.plan.rows // self.results)

    @property
    def rows(self) -> int:
        """Rows of a strip."""
        return (self.results - 1) * self.plan.step + self.plan.reach[0]

    @property
    def bytes(self) -> int:
        """The size of a strip, bytes."""
        return self.rows * self.columns * self.channels * self.numbers.bytes

    @property
    def copied_bytes(self) -> int:
        """The size of the copy that `at` makes."""
        return 0 if self.are_rows else self.bytes

    def position(self, e: Emitter, row: Value, column: Value | int) -> Value:
        """Index in the strip of a result's first tap; `row` counts from the strip's first row."""
        steps = e.add(e.mul(row, self.columns), column)
        return e.mul(steps, self.plan.step * self.channels)

    def step(self, rows: int, columns: int) -> int:
        """Distance in the strip between pixels that are `rows` and `columns` apart."""
        return (rows * self.columns + columns) * self.channels

    def offset(self, tap: Tap, pixels: int = 0) -> int:
        """Distance from the first tap to another, for the result `pixels` columns to the right."""
        row, column = self.plan.origin
        return self.step(tap.row - row, tap.column - column + pixels * self.plan.step)

    def at(self, e: Emitter, place: Place, scratch: Value) -> Value:
        """Emits the copy of a strip, where one is needed; returns the address of the strip."""
        if not self.are_rows:
            self.copy(e, place, scratch)
            return scratch
        height, width, channels = self.plan.source
        row = e.add(e.mul(place.image, height), e.mul(place.start, self.plan.step))
        return e.address(place.source, e.mul(row, width * channels), self.numbers.scalar)

    def copy(self, e: Emitter, place: Place, scratch: Value) -> None:
        """Emits the copy of a strip to `scratch`."""
        height, width, channels = self.plan.source
        left = -self.plan.origin[1]
        inside = min(width, self.columns - left)
        top = e.add(e.mul(place.start, self.plan.step), self.plan.origin[0])
        with e.loop(0, self.rows) as row:
            y, to = e.add(top, row), e.mul(row, self.columns * self.channels)
            exists = e.builder.icmp_unsigned("<", y, const(height))
            with e.builder.if_else(exists) as (then, otherwise):
                with then:
                    self._clear(e, scratch, to, left)
                    line = e.add(e.mul(place.image, height), y)
                    first = e.add(e.mul(line, width * channels), place.channel)
                    with e.loop(0, inside) as column:
                        target = e.add(to, e.mul(e.add(column, left), self.channels))
                        at = e.add(first, e.mul(column, channels))
                        self._copy(e, place, at, scratch, target)
                    end = e.add(to, (left + inside) * self.channels)
                    self._clear(e, scratch, end, self.columns - left - inside)
                with otherwise:
                    self._clear(e, scratch, to, self.columns)

    def _clear(self, e: Emitter, scratch: Value, to: Value, pixels: int) -> None:
        with e.loop(0, pixels) as pixel:
            for offset, lanes in self.numbers.vectors(self.channels):
                target = e.add(to, e.mul(pixel, self.channels), offset)
                e.store(self.numbers.zeros(lanes), scratch, target, self.numbers.scalar)

    def _copy(self, e: Emitter, place: Place, start: Value, scratch: Value, to: Value) -> None:
        """Emits the copy of one pixel."""
        scalar = self.numbers.scalar
        for offset, lanes in self.numbers.vectors(self.channels):
            x = e.load(place.source, e.add(start, offset), scalar, lanes)
            if place.gates is not None:
                x = e.builder.fmul(x, e.load(place.gates, offset, scalar, lanes))
            e.store(x, scratch, e.add(to, offset), scalar)
