"""A network whose sizes are another's, multiplied and rounded."""

import dataclasses
from typing import NamedTuple

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.rounding import divisible, to_group_width, to_multiple
from fastscale_jax.arch.strategies import Multipliers
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


def scaled_sizes(a: Architecture, by: Multipliers) -> Sizes:
    """Returns the sizes of `a` multiplied and rounded.

    EfficientNets stay depthwise and scale stem and head too; the others keep stem and head. Dense
    convs stay dense.
    """
    mbconv = a.block == "mbconv"
    groups = tuple(stage.group_width for stage in a.stages)
    if a.scales_groups:
        groups = tuple(to_group_width(group * by.g) for group in groups)
    return Sizes(
        tuple(max(1, round(stage.depth * by.d)) for stage in a.stages),
        tuple(to_multiple(stage.width * by.w, 8) for stage in a.stages),
        groups,
        to_multiple(a.stem_width * by.w, 8) if mbconv else a.stem_width,
        to_multiple(a.head_width * by.w, 8) if mbconv and a.head_width else a.head_width,
        to_multiple(a.resolution * by.r, 4),
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


def grow(a: Architecture, by: Multipliers) -> Architecture:
    """Returns the network whose sizes are those of `a` multiplied and rounded.

    Raises:
        ValueError: the network that results cannot be built.
    """
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
    grown = with_sizes(a, scaled_sizes(a, by))
    validate(grown)
    return grown
