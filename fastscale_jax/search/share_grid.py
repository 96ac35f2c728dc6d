"""The strategies to try on a device: α from 0 to 1, or a grid of shares of d, w, r and g."""

import itertools
import math

from fastscale_jax.arch.strategies import listed, shares, spelled
from fastscale_jax.arch.zoo import base_architecture

ALPHA, ALL = "alpha", "all"
_LEAST_STEP = 0.02


def strategies_of(base: str, text: str, step: float) -> list[str]:
    """Returns the strategies that a text describes, each once.

    Args:
        base: `family:base`; if its group widths do not grow, there is no `g0`.
        text: `alpha`: `a0`, `a0.2` and so on to `a1`; `all`: a grid over the shares of depth, width
            and resolution, each with growing and with fixed group widths; or strategies with commas
            between.
        step: step of the grid, a fraction 1/n such as 0.2 or 0.25.

    Raises:
        ValueError: an invalid step, an unknown strategy, or shares that sum to 0.
    """
    if text not in (ALPHA, ALL):
        names = list(dict.fromkeys(spelled(name) for name in listed(text)))
        for name in names:
            shares(name)
        return names
    parts = round(1 / step) if _LEAST_STEP <= step <= 1 else 0
    if not parts or not math.isclose(parts * step, 1, rel_tol=1e-6):
        raise ValueError(f"--step must divide 1 into at most 50 parts, as 0.2 does; got {step:g}")
    if text == ALPHA:
        return [f"a{i / parts:.4g}" for i in range(parts + 1)]
    scales_groups = base_architecture(*base.split(":", 1)).scales_groups
    return _all_shares(parts, scales_groups=scales_groups)


def _all_shares(parts: int, *, scales_groups: bool) -> list[str]:
    """All shares in multiples of 1/`parts`, as strategies with the smallest whole numbers."""
    names = []
    for d, w in itertools.product(range(parts + 1), repeat=2):
        if (r := parts - d - w) < 0:
            continue
        divisor = math.gcd(d, w, r)
        name = f"d{d // divisor}w{w // divisor}r{r // divisor}"
        names += [name, *([f"{name}g0"] if w and scales_groups else [])]
    return names
