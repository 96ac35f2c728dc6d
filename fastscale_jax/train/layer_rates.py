"""Factors of the learning rate for each parameter."""

from fastscale_jax.arch import Architecture, parameter_names, parts
from fastscale_jax.train.recipe import Optim


def rate_factors(optim: Optim, network: Architecture) -> dict[str, float]:
    """Returns the factor of each parameter's rate, by dotted name; empty: all factors are 1.

    The stem, each block and the head are a group. The factor of a group is `layer_decay` to the
    power of its distance from the head: 0 for the head, 1 for the last block, number of blocks + 1
    for the stem (arXiv:2106.08254, section 3.2). The classifier's factor is also multiplied by
    `head_rate`.

    Args:
        optim: section of the recipe.
        network: the trained network.
    """
    if optim.layer_decay == optim.head_rate == 1:
        return {}
    groups = [
        f"{part.name}.b{block}" if part.group_width else part.name
        for part in parts(network)
        for block in range(1, part.depth + 1)
    ]
    distances = {group: distance for distance, group in enumerate(reversed(groups))}
    return {
        name: optim.layer_decay ** distances[_group(name)]
        * (optim.head_rate if name.startswith("head.fc.") else 1.0)
        for name in parameter_names(network)
    }


def _group(name: str) -> str:
    """The group of a parameter: `s1.b2` for `s1.b2.a.kernel`, `stem` for `stem.conv.kernel`."""
    first, second, *_ = name.split(".")
    return first if first in ("stem", "head") else f"{first}.{second}"
