"""Scales a network up by a text such as `dWr_16gf`: arXiv:2103.06877, section 6.4."""

import dataclasses

from fastscale_jax.arch import Architecture, Scaling
from fastscale_jax.arch.scaling import amount_name, scaled
from fastscale_jax.arch.strategies import shares
from fastscale_jax.arch.variants import question
from fastscale_jax.arch.zoo import budget_of
from fastscale_jax.measure.fitted import find


def check(scaling: str, flag: str = "scale") -> None:
    """Checks the text of a scaling; `flag` (empty: an argument) is for the message.

    Raises:
        ValueError: invalid text; the message has examples.
    """
    strategy, _, amount = scaling.rpartition("_")
    shares(strategy or amount)
    if not strategy or not budget_of(scaling):
        text = f"--{flag}={scaling}" if flag else repr(scaling)
        raise ValueError(
            f"{text} is no scaling; {question(scaling, ())}write <strategy>_<amount>, as in "
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
    """Returns a network scaled by a text such as `dWr_16gf`, and the scaling.

    Args:
        network: network to grow or to shrink.
        scaling: a strategy and an amount.
        flag: the flag that `scaling` came from, for messages.
        max_resolution: largest resolution in pixels; None: the strategy's own limit, if any.

    Raises:
        ValueError: invalid text, a strategy that does not suit the network, or no factor reaches
            the amount.
    """
    check(scaling, flag)
    budget = budget_of(scaling)
    strategy = scaling.rpartition("_")[0]
    larger, by = scaled(network, strategy, find, max_resolution=max_resolution, **budget)
    name = f"{network.name}_{by.strategy}_{amount_name(**budget)}"
    return dataclasses.replace(larger, name=name), by
