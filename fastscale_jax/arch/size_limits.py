"""Bounds on what a network may cost: beyond them a size is a slip, and would fill any memory."""

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.complexity import Complexity, count

# each about ten times what the largest named network, scaled by 1,024, has
MOST = Complexity(flops=10**15, params=2 * 10**12, acts=10**12)
_NAMES = ("multiply-adds for an image", "parameters", "activations for an image")
_BYTES = 4  # of a parameter


def check_cost(network: Architecture, memory: int | None = None) -> None:
    """Refuses a network that is too large to be built, by arithmetic alone.

    Args:
        network: a valid one.
        memory: bytes that there are for its parameters, which are float32; None: any number.

    Raises:
        ValueError: says what it has too much of.
    """
    cost = count(network)
    for name, value, most in zip(_NAMES, cost, MOST, strict=True):
        if value > most:
            raise ValueError(
                f"{network.name} would have {value:.2g} {name}, and no network may have more than "
                f"{most:.0e}; check config.model"
            )
    if memory is not None and _BYTES * cost.params > memory:
        raise ValueError(
            f"the parameters of {network.name} take {_BYTES * cost.params / 1e9:,.1f} GB, and "
            f"there are {memory / 1e9:,.1f}; choose a smaller network"
        )
