"""Upper limits on a network's cost: a larger size is a typing error, and would fill any memory."""

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.complexity import Complexity, count

# each about ten times the cost of the largest named network scaled by 1,024
MOST = Complexity(flops=10**15, params=2 * 10**12, acts=10**12)
_NAMES = ("multiply-adds for an image", "parameters", "activations for an image")
_BYTES = 4  # of a parameter


def check_cost(network: Architecture, memory: int | None = None) -> None:
    """Refuses a network that is too large to be built, by arithmetic alone.

    Args:
        network: a valid one.
        memory: bytes available for its float32 parameters; None: no limit.

    Raises:
        ValueError: a cost is above its limit; the message says which.
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
            f"{memory / 1e9:,.1f} GB are available; choose a smaller network"
        )
