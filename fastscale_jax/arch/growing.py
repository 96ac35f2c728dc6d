"""Multiplies the sizes of a network and rounds them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

from ml_collections import ConfigDict

from fastscale_jax.arch.architecture import Architecture, as_architecture
from fastscale_jax.arch.rounding import divisible, to_group_width, to_multiple
from fastscale_jax.arch.strategies import Multipliers, PerStage, capped, check_pixels, per_stage
from fastscale_jax.arch.validation import MOST, is_finite, validate


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


def check_limit(a: Architecture, max_resolution: int) -> int:
    """Returns an upper limit of the resolution, pixels, if the network may have it.

    Raises:
        ValueError: it is no whole number above 0, or below the network's resolution.
    """
    limit = check_pixels(max_resolution)
    if limit < a.resolution:
        raise ValueError(f"max_resolution {limit} is below the {a.resolution} pixels of {a.name}")
    return limit


def grow(
    a: Architecture | ConfigDict | Mapping[str, object], by: Multipliers, max_resolution: int = 0
) -> Architecture:
    """Returns the network whose sizes are those of `a` multiplied and rounded.

    Args:
        a: the network, or the fields of its `config.model`; not modified.
        by: multipliers, above 0; those of depths, widths and group widths are one number, or a
            tuple or list with one per stage.
        max_resolution: upper limit of the resolution, pixels; 0: none.

    Raises:
        ValueError: a multiplier is no finite number above 0, or they are for another number of
            stages; `max_resolution` is below the network's; or the result cannot be built.
    """
    a = as_architecture(a)
    by = _checked(a, by)
    limit = check_limit(a, max_resolution) if max_resolution else 0
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
    grown = with_sizes(a, scaled_sizes(a, by, limit))
    validate(grown)
    return grown


def _checked(a: Architecture, by: Multipliers) -> Multipliers:
    """The multipliers, with lists as tuples."""
    if not isinstance(by, Multipliers):
        raise ValueError(f"by must be arch.Multipliers(d, w, g, r); got {by!r}")
    by = Multipliers(*map(_plain, by))
    d, w, g = (_of_sizes(a, field, getattr(by, field)) for field in ("d", "w", "g"))
    if not _is_multiplier(by.r):
        raise ValueError(f"r must be a number above 0, at most {MOST:,}; got {by.r!r}")
    return Multipliers(d, w, g, float(by.r))


def _plain(value: Any) -> Any:
    """An array without axes as a number; all else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _of_sizes(a: Architecture, field: str, values: Any) -> PerStage:
    """One multiplier, or one per stage."""
    if _is_multiplier(values):
        return float(values)
    try:
        vector = tuple(values)
    except TypeError:  # neither a number nor several
        vector = ()
    if not vector or not all(map(_is_multiplier, vector)):
        raise ValueError(
            f"{field} must be a number above 0, at most {MOST:,}, or one for each of the "
            f"{len(a.stages)} stages of {a.name}; got {values!r}"
        )
    if len(vector) != len(a.stages):
        raise ValueError(
            f"{field} has multipliers for {len(vector)} stages; {a.name} has {len(a.stages)}"
        )
    return tuple(map(float, vector))


def _is_multiplier(value: object) -> TypeGuard[float]:
    """Whether a value can multiply sizes."""
    return is_finite(value) and 0 < float(value) <= MOST
