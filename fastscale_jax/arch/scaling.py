"""`scale`: a network grown or shrunk by a strategy, to a factor or to a budget."""

import dataclasses
import math
from collections.abc import Mapping

from ml_collections import ConfigDict

from fastscale_jax.arch.architecture import Architecture, as_architecture
from fastscale_jax.arch.budget import nearest_factor
from fastscale_jax.arch.growing import grow
from fastscale_jax.arch.strategies import ORIG_FACTOR, Multipliers, multipliers, phi_multipliers


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Where a scaled network came from."""

    base: str  # name of the network that was scaled
    strategy: str  # a key of STRATEGIES, or `a<alpha>`
    factor: float  # by which flops should grow
    multipliers: Multipliers


def scaled(
    a: Architecture,
    strategy: str,
    *,
    factor: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    acts: float | None = None,
    phi: float | None = None,
) -> tuple[Architecture, Scaling]:
    """Returns the network grown by `strategy` to one budget, and how it was grown.

    Arguments and errors are those of `scale`.
    """
    budgets = {"factor": factor, "flops": flops, "params": params, "acts": acts, "phi": phi}
    given = {key: value for key, value in budgets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            f"give exactly one of factor, flops, params, acts or phi; got {sorted(given) or 'none'}"
        )
    ((kind, amount),) = given.items()
    _check_amount(kind, amount)
    if kind == "phi":
        if strategy != "orig":
            raise ValueError(f"phi goes with strategy 'orig' alone; got strategy {strategy!r}")
        by = phi_multipliers(amount)
        taken = ORIG_FACTOR**amount
    else:
        taken = float(amount) if kind == "factor" else nearest_factor(a, strategy, kind, amount)
        by = multipliers(strategy, taken)
    if a.block == "mbconv":
        by = by._replace(g=1.0)
    return grow(a, by), Scaling(a.name, strategy, taken, by)


def scale(
    network: Architecture | ConfigDict | Mapping[str, object],
    strategy: str,
    *,
    factor: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    acts: float | None = None,
    phi: float | None = None,
) -> ConfigDict:
    """Returns the network grown, or shrunk, by `strategy` to one budget.

    Args:
        network: the fields of `config.model`, or an `Architecture`; not modified.
        strategy: a key of `STRATEGIES`, or `a<alpha>` with alpha in [0, 1].
        factor: by which flops should grow, from 1/64 to 1024. Rounding moves the result: `count`
            tells by how much.
        flops: multiply-adds for one image. Of all factors, the one that comes closest after
            rounding is taken; on a tie, the smaller.
        params: trainable scalars, likewise.
        acts: output elements of convs for one image, likewise.
        phi: EfficientNet's compound coefficient; for strategy `orig` alone.

    Returns:
        A new `config.model`, named after its base, the strategy and the amount.

    Raises:
        ValueError: unknown strategy, not exactly one budget, a budget that no factor reaches (the
            message says what is nearest), or a result that cannot be built.
    """
    a = as_architecture(network)
    grown, _ = scaled(a, strategy, factor=factor, flops=flops, params=params, acts=acts, phi=phi)
    amount = amount_name(factor=factor, flops=flops, params=params, acts=acts, phi=phi)
    return dataclasses.replace(grown, name=f"{a.name}_{strategy}_{amount}").to_config()


def amount_name(
    *,
    factor: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    acts: float | None = None,
    phi: float | None = None,
) -> str:
    """Returns a budget in the variant grammar: `x4`, `16gf`, `40mparams`, `20macts`, `phi3`."""
    if factor is not None:
        return f"x{factor:.12g}"
    if flops is not None:
        return f"{flops / 1e9:.12g}gf" if flops >= 1e9 else f"{flops / 1e6:.12g}mf"
    if params is not None:
        return f"{params / 1e6:.12g}mparams"
    if acts is not None:
        return f"{acts / 1e6:.12g}macts"
    return f"phi{phi:.12g}"


def _check_amount(kind: str, amount: float) -> None:
    number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    if number and math.isfinite(amount) and (amount > 0 or kind == "phi"):
        return
    above = "" if kind == "phi" else " above 0"
    raise ValueError(f"{kind} must be a finite number{above}; got {amount!r}")
