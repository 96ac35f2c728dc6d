"""A network whose sizes are another's, multiplied and rounded."""

import dataclasses
from typing import NamedTuple

from fastscale_jax.arch.architecture import Architecture, Stage, validate
from fastscale_jax.arch.rounding import divisible, to_group_width, to_multiple
from fastscale_jax.arch.strategies import Multipliers


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


def group_multiplier(a: Architecture, g: float) -> float:
    """Returns what group widths are multiplied by: `g`, or 1 in a depthwise network."""
    return 1.0 if a.is_depthwise else g


def scaled_sizes(a: Architecture, by: Multipliers) -> Sizes:
    """Returns the sizes of `a` multiplied and rounded.

    Depthwise networks stay depthwise (arXiv:2103.06877, section 3.5). EfficientNets scale stem and
    head too; the others keep them.
    """
    mbconv, group_by = a.block == "mbconv", group_multiplier(a, by.g)
    return Sizes(
        tuple(max(1, round(stage.depth * by.d)) for stage in a.stages),
        tuple(to_multiple(stage.width * by.w, 8) for stage in a.stages),
        tuple(to_group_width(stage.group_width * group_by) for stage in a.stages),
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
        if a.block != "mbconv":
            width, group = divisible(width, group, stage.expansion)
        stages.append(Stage(depth, width, stage.stride, stage.kernel, group, stage.expansion))
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
    for stage in a.stages:
        if stage.expansion > 1 and stage.expansion % 1 and a.block != "mbconv":
            raise ValueError(
                "only networks whose expansions are whole, or at most 1, can be scaled; "
                f"{a.name} has {stage.expansion:g}"
            )
    grown = with_sizes(a, scaled_sizes(a, by))
    validate(grown)
    return grown
