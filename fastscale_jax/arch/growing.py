"""Multiplies the sizes of a network and rounds them."""

import dataclasses
from typing import NamedTuple

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.rounding import divisible, to_group_width, to_multiple
from fastscale_jax.arch.strategies import Multipliers, PerStage, capped, per_stage
from fastscale_jax.arch.validation import validate


class Sizes(NamedTuple):
    """The sizes that scaling changes, rounded one by one but not yet made divisible.

    Each never falls as its multiplier grows; `budget` relies on this.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    stem_width: int
    head_width: int
    resolution: int


def group_multiplier(a: Architecture, g: PerStage) -> PerStage:
    """Returns the multiplier of group widths: `g`, or 1 if they do not grow."""
    return g if a.scales_groups else 1.0


def scaled_sizes(a: Architecture, by: Multipliers, max_resolution: int = 0) -> Sizes:
    """Returns the multiplied and rounded sizes of `a`; max_resolution 0: no limit.

    Depthwise networks stay depthwise (arXiv:2103.06877, section 3.5), and dense convs dense.
    EfficientNets scale the stem as the first stage and the head as the last; others keep both.
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
    """Returns `a` with other sizes; widths are made divisible by their groups."""
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
        by: multipliers; those of depths, widths and group widths are one number, or one per stage.
        max_resolution: upper limit of the resolution, pixels; 0: none.

    Raises:
        ValueError: the multipliers are for another number of stages, or the result cannot be built.
    """
    for field in ("d", "w", "g"):
        values = getattr(by, field)
        if isinstance(values, tuple) and len(values) != len(a.stages):
            raise ValueError(
                f"{field} has multipliers for {len(values)} stages; {a.name} has {len(a.stages)}"
            )
    if a.has_grouped_mbconv:
        raise ValueError(
            f"{a.name} cannot be scaled: its mbconv blocks have groups, and an inner width would "
            "have to suit the groups of two stages; depthwise mbconv (group width 1) can be scaled"
        )
    for stage in a.stages:
        if stage.expansion > 1 and stage.expansion % 1 and a.scales_groups:
            raise ValueError(
                "only networks whose expansions are whole numbers, or at most 1, can be scaled; "
                f"{a.name} has {stage.expansion:g}"
            )
    grown = with_sizes(a, scaled_sizes(a, by, max_resolution))
    validate(grown)
    return grown
