"""The share of the learning rate that each parameter gets."""

from fastscale_jax.arch import Architecture, parameter_names, parts
from fastscale_jax.train.recipe import Optim


def rate_factors(optim: Optim, network: Architecture) -> dict[str, float]:
    """Returns what each parameter's rate is multiplied by, by its dotted name; empty: all by 1.

    The stem, each block and the head are a group. A group's rate is multiplied by `layer_decay` to
    the power of its distance from the head: 0 for the head, 1 for the last block, one more than
    there are blocks for the stem (arXiv:2106.08254, section 3.2). The classifier's is multiplied
    by `head_rate`.

    Args:
        optim: of the recipe.
        network: that is trained.
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
    """The group of a parameter: `s1.b2` of `s1.b2.a.kernel`, and `stem` of `stem.conv.kernel`."""
    first, second, *_ = name.split(".")
    return first if first in ("stem", "head") else f"{first}.{second}"
