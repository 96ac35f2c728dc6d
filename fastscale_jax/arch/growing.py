"""A network whose sizes are another's, multiplied and rounded."""

import dataclasses
from typing import NamedTuple

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.rounding import divisible, to_group_width, to_multiple
from fastscale_jax.arch.strategies import Multipliers, PerStage, capped, per_stage
from fastscale_jax.arch.validation import validate


class Sizes(NamedTuple):
    """The sizes that scaling changes, rounded one by one but not yet made divisible.

    Each is a non-decreasing function of its multiplier, which `budget` builds on.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    stem_width: int
    head_width: int
    resolution: int


def group_multiplier(a: Architecture, g: PerStage) -> PerStage:
    """Returns what group widths are multiplied by: `g`, or 1 where they do not grow."""
    return g if a.scales_groups else 1.0


def scaled_sizes(a: Architecture, by: Multipliers, max_resolution: int = 0) -> Sizes:
    """Returns the sizes of `a` multiplied and rounded, the resolution within a limit (0: none).

    Depthwise networks stay depthwise (arXiv:2103.06877, section 3.5), and dense convs dense.
    EfficientNets scale stem and head too, as their first and last stage; the others keep them.
    """
    mbconv, stages = a.block == "mbconv", a.stages
    d, w, g = (per_stage(x, len(stages)) for x in (by.d, by.w, by.g))
    groups = tuple([stage.group_width for stage in stages])
    if a.scales_groups:
        groups = tuple([to_group_width(group * x) for group, x in zip(groups, g, strict=True)])
    resolution = to_multiple(a.resolution * by.r, 4)
    return Sizes(
        tuple([max(1, round(stage.depth * x)) for stage, x in zip(stages, d, strict=True)]),
        tuple([to_multiple(stage.width * x, 8) for stage, x in zip(stages, w, strict=True)]),
        groups,
        to_multiple(a.stem_width * w[0], 8) if mbconv else a.stem_width,
        to_multiple(a.head_width * w[-1], 8) if mbconv and a.head_width else a.head_width,
        min(resolution, capped(max_resolution)) if max_resolution else resolution,
    )


def with_sizes(a: Architecture, sizes: Sizes) -> Architecture:
    """Returns `a` with other sizes, widths made divisible by their groups."""
    stages = []
    for stage, depth, width, group in zip(
        a.stages, sizes.depths, sizes.widths, sizes.group_widths, strict=True
    ):
        if a.scales_groups:
            width, group = divisible(width, group, stage.expansion)
        stages.append(stage._replace(depth=depth, width=width, group_width=group))
    return dataclasses.replace(
        a,
        stages=tuple(stages),
        stem_width=sizes.stem_width,
        head_width=sizes.head_width,
        resolution=sizes.resolution,
    )


def grow(a: Architecture, by: Multipliers, max_resolution: int = 0) -> Architecture:
    """Returns the network whose sizes are those of `a` multiplied and rounded.

    Args:
        a: the network; not modified.
        by: what sizes are multiplied by; of depths, widths and group widths, a number or one for
            each stage.
        max_resolution: pixels that the resolution may not exceed; 0: any.

    Raises:
        ValueError: there are multipliers of another number of stages, or the network that results
            cannot be built.
    """
    for field in ("d", "w", "g"):
        values = getattr(by, field)
        if isinstance(values, tuple) and len(values) != len(a.stages):
            raise ValueError(
                f"{field} has multipliers of {len(values)} stages; {a.name} has {len(a.stages)}"
            )
    if a.has_grouped_mbconv:
        raise ValueError(
            f"{a.name} cannot be scaled: its mbconv blocks have groups, and an inner width would "
            "have to suit the groups of two stages; depthwise ones, of group width 1, can be"
        )
    for stage in a.stages:
        if stage.expansion > 1 and stage.expansion % 1 and a.scales_groups:
            raise ValueError(
                "only networks whose expansions are whole, or at most 1, can be scaled; "
                f"{a.name} has {stage.expansion:g}"
            )
    grown = with_sizes(a, scaled_sizes(a, by, max_resolution))
    validate(grown)
    return grown
