"""EfficientNet's alpha (of depth), beta (of width) and gamma (of resolution): arXiv:1905.11946."""

import dataclasses
import itertools
from collections.abc import Sequence

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.growing import grow
from fastscale_jax.arch.strategies import Multipliers

TARGET = 2.0  # growth of flops at phi = 1


def grid(step: float, tolerance: float) -> list[tuple[float, float, float]]:
    """Returns every alpha, beta and gamma of the grid whose flops grow about twofold.

    Args:
        step: step between values, which start at 1.
        tolerance: the largest relative difference between alpha * beta^2 * gamma^2 and 2.

    Raises:
        ValueError: there are none.
    """
    values = [round(1 + step * i, 6) for i in range(int(TARGET * (1 + tolerance) / step) + 1)]
    points = [
        point
        for point in itertools.product(values, values, values)
        if round(abs(_growth(*point) / TARGET - 1), 9) <= tolerance  # 1.9 is within 5 %
    ]
    if not points:
        raise ValueError(
            f"no alpha, beta and gamma in steps of {step:g} have a product within {tolerance:.1%} "
            "of 2; give a smaller --step or a larger --tolerance"
        )
    return points


def _growth(alpha: float, beta: float, gamma: float) -> float:
    return alpha * beta**2 * gamma**2


def grown(base: Architecture, shares: Sequence[float], phi: float) -> Architecture:
    """Returns a network scaled by alpha, beta and gamma to the power phi."""
    d, w, r = (share**phi for share in shares)
    by = Multipliers(d, w, w, r)
    alpha, beta, gamma = shares
    name = f"{base.name}_d{alpha:g}-w{beta:g}-r{gamma:g}"
    return dataclasses.replace(grow(base, by), name=name if phi == 1 else f"{name}_phi{phi:g}")
