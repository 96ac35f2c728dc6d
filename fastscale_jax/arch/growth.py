"""Closed forms of the growth of cost, without rounding (arXiv:2103.06877, Tables 1 to 4)."""

from typing import NamedTuple

from fastscale_jax.arch.strategies import shares, strategy_of
from fastscale_jax.arch.validation import check_positive


class Growth(NamedTuple):
    """The factor by which each cost grows."""

    flops: float
    params: float
    acts: float


def growth(strategy: str, factor: float) -> Growth:
    """Returns the growth of a stage of dense convs scaled by `strategy`.

    With f = d·w²·r², p = d·w² and a = d·w·r², scaling by s multiplies f by s, p by s^(e_d + e_w)
    and a by s^(e_d + e_w/2 + e_r) (arXiv:2103.06877, Tables 1, 2 and 4, equation 6).

    Args:
        strategy: as in `strategies.strategy_of`, without per-stage shares and `-max`.
        factor: s, above 0.

    Raises:
        ValueError: unknown strategy, one with per-stage shares or `-max`, or a factor not above 0.
    """
    factor = check_positive("factor", factor)
    e_d, e_w, e_r = shares(strategy)
    if isinstance(e_d, tuple) or isinstance(e_w, tuple) or strategy_of(strategy).max_resolution:
        raise ValueError(
            "the closed forms are for one stage and no limit of the resolution; strategy "
            f"{strategy!r} has shares for each stage, or a limit"
        )
    return Growth(factor, factor ** (e_d + e_w), factor ** (e_d + e_w / 2 + e_r))


# exponents of (width, group width); arXiv:2103.06877, Table 3
_GROUP_EXPONENTS = {"w": (1.0, 0.0), "g": (0.0, 1.0), "wg": (0.5, 0.5)}


def group_growth(dims: str, factor: float) -> Growth:
    """Returns the growth of a group conv, f = w·g·r², p = w·g, a = w·r² (Table 3).

    Args:
        dims: what is scaled: `w`, `g` or `wg`.
        factor: s, above 0.

    Raises:
        ValueError: unknown dims, or a factor that is not above 0.
    """
    factor = check_positive("factor", factor)
    if dims not in tuple(_GROUP_EXPONENTS):  # a tuple: dims of a wrong type may not be hashable
        raise ValueError(f"unknown dims {dims!r}; choose one of {', '.join(_GROUP_EXPONENTS)}")
    width, group = _GROUP_EXPONENTS[dims]
    return Growth(factor ** (width + group), factor ** (width + group), factor**width)
