"""Rounding of sizes: channels to multiples of 8, widths divisible by their groups."""

import math


def to_multiple(value: float, step: int) -> int:
    """Returns the multiple of `step`, at least one, nearest to `value`; half goes to even."""
    return step * max(1, round(value / step))


def half_up(value: float, step: int) -> int:
    """Returns the multiple of `step`, at least one, nearest to `value`; half goes up."""
    return max(step, int(value + step / 2) // step * step)


def to_group_width(value: float) -> int:
    """Returns the nearest group width that is fast on hardware: 1, 2, 4, or a multiple of 8."""
    width = max(1, round(value))
    if width <= 2:
        return width
    return 4 if width <= 5 else to_multiple(width, 8)


def divisible(width: int, group_width: int, expansion: float) -> tuple[int, int]:
    """Returns (width, group width) such that groups divide the inner width `width·expansion`.

    The inner width moves to the nearest multiple of the group width (with an expansion above 1, of
    their least common multiple, so that the output width stays whole), at most by a third
    (arXiv:2103.06877, section 3.5).
    """
    inner = int(max(1, width * expansion))
    group_width = min(group_width, inner)
    step = math.lcm(group_width, int(expansion)) if expansion > 1 else group_width
    return int(to_multiple(inner, step) / expansion), group_width
