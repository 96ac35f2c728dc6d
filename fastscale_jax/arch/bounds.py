"""Bounds on the cost of networks between two sizes, for the search in `arch.budget`."""

import dataclasses
import math
from collections.abc import Iterator

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.blocks import RESIDUAL, BlockShape
from fastscale_jax.arch.complexity import Complexity, block_layers, count, stem_layers, strided
from fastscale_jax.arch.growing import Sizes, with_sizes
from fastscale_jax.arch.rounding import divisible, to_group_width

# In a wider range, group widths are not tried one by one; the bounds are looser.
_MANY_GROUP_WIDTHS = 128


def bounds(a: Architecture, low: Sizes, high: Sizes) -> tuple[Complexity, Complexity]:
    """Returns a lower and an upper bound on the cost of networks from `low` to `high`."""
    cheap, dear = with_sizes(a, low), with_sizes(a, high)
    if low.group_widths != high.group_widths:
        ranges = [_fitted_ranges(stage.expansion, low, high, i) for i, stage in enumerate(a.stages)]
        cheap, dear = (
            dataclasses.replace(
                end,
                stages=tuple(
                    stage._replace(width=fitted[side][0], group_width=fitted[side][1])
                    for stage, fitted in zip(end.stages, ranges, strict=True)
                ),
            )
            for side, end in enumerate((cheap, dear))
        )
    surplus, lack = _projection_slack(cheap, dear)
    return count(cheap) + surplus * -1, count(dear) + lack


def _fitted_ranges(
    expansion: float, low: Sizes, high: Sizes, i: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Smallest and largest (width, group width) of stage i once widths are divisible.

    For one group width, the fitted width never falls as the width grows, so the two ends suffice.
    Group widths are tried one by one; if there are many, looser bounds are faster.
    """
    if high.group_widths[i] - low.group_widths[i] > _MANY_GROUP_WIDTHS:
        return _loose_ranges(expansion, low, high, i)
    candidates = _distinct_group_widths(low.group_widths[i], high.group_widths[i])
    groups = {to_group_width(g) for g in candidates}
    least = [divisible(low.widths[i], g, expansion) for g in groups]
    most = [divisible(high.widths[i], g, expansion) for g in groups]
    return (min(w for w, _ in least), min(g for _, g in least)), (
        max(w for w, _ in most),
        max(g for _, g in most),
    )


def _loose_ranges(
    expansion: float, low: Sizes, high: Sizes, i: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """As `_fitted_ranges`, but looser.

    Divisibility moves an inner width by a third or by half a step at most. But an inner width is at
    least one step, which may be a larger move.
    """
    least, most = (int(max(1, sizes.widths[i] * expansion)) for sizes in (low, high))
    group = min(high.group_widths[i], most)
    step = group
    if expansion > 1 and 8 % int(expansion):
        step = group * int(expansion)
    least_inner = max(least * 2 / 3, least - step / 2)
    most_inner = max(min(most * 4 / 3, most + step / 2), step)
    return (int(least_inner / expansion), min(low.group_widths[i], least)), (
        math.ceil(most_inner / expansion),
        group,
    )


def _distinct_group_widths(low: int, high: int) -> Iterator[int]:
    """Yields numbers that `to_group_width` turns into each group width from `low` to `high`."""
    yield from range(low, min(high, 8))
    yield from range(max(low, 8) // 8 * 8, high, 8)
    yield high


def _projection_slack(cheap: Architecture, dear: Architecture) -> tuple[Complexity, Complexity]:
    """Corrects the bounds for projections that appear or vanish.

    A residual block of stride 1 projects its skip unless its input and output widths are equal.
    This is the only cost that may fall as widths grow.
    """
    surplus = lack = Complexity(0, 0, 0)
    if cheap.block not in RESIDUAL:
        return surplus, lack
    (_, cheap_size), (_, dear_size) = stem_layers(cheap), stem_layers(dear)
    for (small, *_), (large, *_) in zip(cheap.stage_shapes, dear.stage_shapes, strict=True):
        may_be_equal = small.c_in <= large.c_out and small.c_out <= large.c_in
        if small.stride == 1 and may_be_equal:
            if small.has_projection:
                surplus += _projection(small, cheap_size)
            if not large.has_projection:
                lack += _projection(large, dear_size)
        cheap_size, dear_size = (strided(s, small.stride) for s in (cheap_size, dear_size))
    return surplus, lack


def _projection(shape: BlockShape, size: int) -> Complexity:
    """Cost of a projection of a block's skip, even if it has none; `size`: input side, pixels."""
    layer = block_layers(shape._replace(has_projection=True), size)[0]
    return Complexity(layer.flops, layer.params, layer.acts)
