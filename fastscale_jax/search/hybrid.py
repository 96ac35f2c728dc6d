"""The network that a search found, scaled up: arXiv:2103.06877, section 6.4."""

import dataclasses

from fastscale_jax.arch import Architecture, Scaling
from fastscale_jax.arch.scaling import amount_name, scaled
from fastscale_jax.arch.strategies import shares
from fastscale_jax.arch.variants import question
from fastscale_jax.arch.zoo import budget_of
from fastscale_jax.measure.fitted import find


def check(scaling: str, flag: str = "scale") -> None:
    """Refuses what says no scaling, in the name of a flag (empty: of an argument).

    Raises:
        ValueError: shows how one is written.
    """
    strategy, _, amount = scaling.rpartition("_")
    shares(strategy or amount)
    if not strategy or not budget_of(scaling):
        given = f"--{flag}={scaling}" if flag else repr(scaling)
        raise ValueError(
            f"{given} is no scaling; {question(scaling, ())}write <strategy>_<amount>, as in "
            "dWr_16gf, dWr_x4 or a0.6_20macts"
        )


def scaled_up(network: Architecture, scaling: str, *, flag: str = "scale") -> Architecture:
    """Returns a network grown as `grown` does."""
    return grown(network, scaling, flag=flag)[0]


def grown(
    network: Architecture,
    scaling: str,
    *,
    flag: str = "scale",
    max_resolution: int | None = None,
) -> tuple[Architecture, Scaling]:
    """Returns a network grown as the variants of config files say it, `dWr_16gf`, and how.

    Args:
        network: to grow, or to shrink.
        scaling: a strategy and an amount.
        flag: that they were given by, for people.
        max_resolution: pixels that the resolution may not exceed; None: as the strategy says.

    Raises:
        ValueError: it says no scaling, it is none for this network, or no factor reaches the
            amount.
    """
    check(scaling, flag)
    budget = budget_of(scaling)
    strategy = scaling.rpartition("_")[0]
    larger, by = scaled(network, strategy, find, max_resolution=max_resolution, **budget)
    name = f"{network.name}_{by.strategy}_{amount_name(**budget)}"
    return dataclasses.replace(larger, name=name), by
