"""`scale`: grows or shrinks a network by a strategy, to a factor or to a budget."""

import dataclasses
import functools
from collections.abc import Mapping

from ml_collections import ConfigDict

from fastscale_jax.arch.architecture import Architecture, as_architecture
from fastscale_jax.arch.budget import largest_factor, nearest_factor
from fastscale_jax.arch.device_model import MEASURED, Device, model_of
from fastscale_jax.arch.growing import group_multiplier, grow
from fastscale_jax.arch.path import Path
from fastscale_jax.arch.strategies import (
    ORIG_FACTOR,
    Multipliers,
    Strategy,
    check_pixels,
    phi_multipliers,
    strategy_of,
)
from fastscale_jax.arch.validation import check_positive, is_finite


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How a scaled network was made."""

    base: str  # name of the network that was scaled
    strategy: str  # as `strategies.strategy_of` reads it
    factor: float  # by which flops should grow
    multipliers: Multipliers


# budgets: (argument of `scale`, suffix in the name of a variant, size of that unit)
AMOUNTS = (
    ("flops", "gf", 1e9),
    ("flops", "mf", 1e6),
    ("params", "mparams", 1e6),
    ("acts", "macts", 1e6),
    ("step_ms", "ms", 1.0),
    ("memory_bytes", "gb", 1e9),
)


def scaled(
    a: Architecture,
    strategy: str,
    device: Device | None = None,
    /,
    *,
    max_resolution: int | None = None,
    **budget: float | None,
) -> tuple[Architecture, Scaling]:
    """Returns the network grown by `strategy` to one budget, and how it was grown.

    Arguments and errors are those of `scale`.
    """
    amounts = {key: value for key, value in budget.items() if value is not None}
    if len(amounts) != 1:
        raise ValueError(
            "give exactly one of factor, flops, params, acts, step_ms, memory_bytes or phi; got "
            f"{sorted(amounts) or 'none'}"
        )
    ((kind, amount),) = amounts.items()
    amount = _amount(kind, amount)
    chosen = _strategy(strategy, max_resolution)
    path = Path(a, chosen)
    if kind == "phi":
        if chosen.name.partition("-")[0] != "orig":
            raise ValueError(f"phi is for strategy 'orig' only; got strategy {strategy!r}")
        by, flops_factor = phi_multipliers(amount), ORIG_FACTOR**amount
        if by.r > path.most:
            by = path.multipliers(flops_factor)
    else:
        flops_factor = amount if kind == "factor" else _factor_to(a, chosen, kind, amount, device)
        by = path.multipliers(flops_factor)
    by = by._replace(g=group_multiplier(a, by.g))
    return grow(a, by, chosen.max_resolution), Scaling(a.name, chosen.name, flops_factor, by)


def _strategy(text: str, max_resolution: int | None) -> Strategy:
    if max_resolution is None:
        return strategy_of(text)
    return strategy_of(text, check_pixels(max_resolution))


def _factor_to(
    a: Architecture, strategy: Strategy, kind: str, amount: float, device: Device | None
) -> float:
    """The factor that brings a network to a count, or to a limit of time or memory."""
    if kind not in MEASURED:
        return nearest_factor(a, strategy, kind, amount)
    predict = functools.partial(model_of(device, kind).predict, kind, a.name)
    return largest_factor(a, strategy, MEASURED[kind], amount, predict)


def scale(
    network: Architecture | ConfigDict | Mapping[str, object],
    strategy: str,
    *,
    factor: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    acts: float | None = None,
    step_ms: float | None = None,
    memory_bytes: float | None = None,
    phi: float | None = None,
    max_resolution: int | None = None,
    device: Device | None = None,
) -> ConfigDict:
    """Returns the network grown, or shrunk, by `strategy` to one budget.

    Args:
        network: the fields of `config.model`, or an `Architecture`; not modified.
        strategy: a key of `STRATEGIES`, `a<alpha>` with alpha in [0, 1], or custom shares
            `d<x>w<y>r<z>[g<u>]`, as in `strategies.strategy_of`.
        factor: the growth of flops before rounding, from 1/64 to 1024. Rounding moves the result:
            `count` tells by how much.
        flops: multiply-adds for one image. The factor that comes closest after rounding is taken;
            on a tie, the smaller.
        params: trainable scalars, likewise.
        acts: output elements of convs for one image, likewise.
        step_ms: milliseconds of a training step, as `device` predicts them. The largest network
            within the budget is taken; `measure.choose` also measures it.
        memory_bytes: peak memory of a training step, likewise.
        phi: EfficientNet's compound coefficient; for strategy `orig` only.
        max_resolution: upper limit of the resolution, pixels. At the limit, depth and width take
            the rest of the growth in proportion to their shares.
        device: the device model that predicts step_ms and memory_bytes, or a function that returns
            it, such as `measure.fitted.find`.

    Returns:
        A new `config.model`, named after its base, the strategy and the amount.

    Raises:
        ValueError: unknown strategy, or one for another number of stages; a `max_resolution` below
            the network's; not exactly one budget; a budget that no factor reaches (the message
            gives the nearest); `step_ms` or `memory_bytes` without `device`; or a result that
            cannot be built.
    """
    a = as_architecture(network)
    budget = {
        "factor": factor,
        "flops": flops,
        "params": params,
        "acts": acts,
        "step_ms": step_ms,
        "memory_bytes": memory_bytes,
        "phi": phi,
    }
    grown, scaling = scaled(a, strategy, device, max_resolution=max_resolution, **budget)
    return dataclasses.replace(
        grown, name=f"{a.name}_{scaling.strategy}_{amount_name(**budget)}"
    ).to_config()


def amount_name(**budget: float | None) -> str:
    """Returns a budget in the variant grammar: `x4`, `16gf`, `40mparams`, `20macts`, `25ms`."""
    ((kind, amount),) = ((k, v) for k, v in budget.items() if v is not None)
    amount = float(amount)
    if kind in ("factor", "phi"):
        return f"{'x' if kind == 'factor' else 'phi'}{amount:.12g}"
    units = [(name, unit) for argument, name, unit in AMOUNTS if argument == kind]
    name, unit = next((x for x in units if amount >= x[1]), units[-1])
    return f"{amount / unit:.12g}{name}"


def _amount(kind: str, amount: object) -> float:
    if kind != "phi":
        return check_positive(kind, amount)
    if not is_finite(amount):
        raise ValueError(f"phi must be a finite number; got {amount!r}")
    return float(amount)
