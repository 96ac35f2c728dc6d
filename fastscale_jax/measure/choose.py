"""Finds the largest network whose training step takes no more than a budget here, by measuring.

python -m fastscale_jax.measure.choose --base=regnetz:500mf --strategy=dWr --step_ms=25
python -m fastscale_jax.measure.choose --base=regnetz:500mf --strategy=dWr --memory_gb=8

A model of the device (`measure.fit`) gives the first network; without one the base is measured and
its activations stand for the time. What is found is measured, the model is corrected by that, and
so on until a network takes from 90 to 100 % of the budget. What is printed at the end is a variant
with a factor, which names the same network on every machine.
"""

import argparse
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

from fastscale_jax.arch import Architecture, Complexity, count
from fastscale_jax.arch.budget import largest_factor
from fastscale_jax.arch.device_model import DeviceModel, find
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.strategies import FACTOR_LOW
from fastscale_jax.arch.zoo import base_architecture

_NEAR, _AIM = 0.9, 0.96  # of the budget
_ROUNDS = 8


class Choice(NamedTuple):
    """A network that meets a budget, as measured."""

    factor: float
    network: Architecture
    amount: float  # what it takes
    measurements: int


class UnmetError(Exception):
    """No network was found that meets the budget; says what came nearest."""


def choose(
    base: Architecture,
    strategy: str,
    budget: float,
    *,
    kind: str,
    measure: Callable[[Architecture], float],
    model: DeviceModel | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Choice:
    """Returns the largest network of a strategy that meets a budget, as measured.

    Args:
        base: to scale.
        strategy: a key of `STRATEGIES`, or `a<alpha>`.
        budget: in the unit of `measure`.
        kind: `step_ms` or `memory_bytes`.
        measure: what a network takes.
        model: to begin with; None: the base's activations are.
        tell: is told of each measurement.

    Raises:
        ValueError: no factor between 1/64 and 1024 gets there.
        UnmetError: what was measured did not come near the budget.
    """
    price = _price(base, kind, measure, model)
    known: dict[float, float] = {}  # of the price of a network, what it took
    wanted, amount, best = budget, math.inf, None
    for taken in range(1, _ROUNDS + 1):
        try:
            factor = largest_factor(base, strategy, kind, wanted, price)
        except ValueError:
            # the model says so, which is wrong more often than not at its ends
            if known and (wanted > price(count(base)) or len(known) > 1):
                raise
            factor = FACTOR_LOW if known else 1.0
        network, _ = scaled(base, strategy, factor=factor)
        predicted = price(count(network))
        if predicted in known:  # there is no network between this one and the next
            break
        amount = known[predicted] = measure(network)
        tell(f"{strategy} x{factor:g}: {amount:,.4g} {kind} of {budget:,.4g}")
        if amount <= budget and (best is None or amount > best.amount):
            best = Choice(factor, network, amount, taken)
        if _NEAR * budget <= amount <= budget:
            break
        wanted = _price_of(_AIM * budget, known)
    if best is None:
        raise UnmetError(
            f"after {len(known)} measurements no network of {strategy!r} was found to take at most "
            f"{budget:,.4g} {kind}; the last one took {amount:,.4g}"
        )
    return best


def _price_of(amount: float, known: dict[float, float]) -> float:
    """The price at which a network should take an amount, by the two nearest that were measured.

    Time grows as a power of the price, at least over a short way.
    """
    (first, a), *others = sorted(known.items(), key=lambda x: abs(math.log(x[1] / amount)))
    power = 1.0
    if others and (a - others[0][1]) * (first - others[0][0]) > 0:
        second, b = others[0]
        power = min(max(math.log(b / a) / math.log(second / first), 1 / 3), 3.0)
    return first * (amount / a) ** (1 / power)


def _price(
    base: Architecture,
    kind: str,
    measure: Callable[[Architecture], float],
    model: DeviceModel | None,
) -> Callable[[Complexity], float]:
    if model is not None:
        fit = model.fit_of(kind, base.name)
        return lambda cost: fit.of(cost, model.batch_size)
    an_activation = measure(base) / count(base).acts
    return lambda cost: an_activation * cost.acts


def _measured_ms(batch: int, dtype: str, noise: float) -> Callable[[Architecture], float]:
    from fastscale_jax.measure import timing
    from fastscale_jax.measure.jax_runner import JaxRunner

    def measure(network: Architecture) -> float:
        step = JaxRunner(network, batch, dtype).start("step")
        return 1000 * timing.measure(step, noise=noise).median

    return measure


def _compiled_bytes(batch: int, dtype: str) -> Callable[[Architecture], float]:
    import jax

    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.measure.memory import step_memory
    from fastscale_jax.train.sharding import device_mesh

    mesh = device_mesh(jax.local_devices()[:1])
    return lambda network: step_memory(network, plain_recipe(batch, dtype), mesh).peak


def _model(batch: int | None, dtype: str | None) -> DeviceModel | None:
    """The device's model, if it is of the same batch and type."""
    try:
        model = find()
    except ValueError:
        return None
    fits = batch in (None, model.batch_size) and dtype in (None, model.dtype)
    return model if fits else None


def main() -> int:
    """Finds a network, and says how to train it."""
    parser = argparse.ArgumentParser(
        prog="python -m fastscale_jax.measure.choose",
        description=(__doc__ or "").strip().partition("\n")[0],
    )
    parser.add_argument("--base", required=True, help="family:base, as in regnetz:500mf")
    parser.add_argument("--strategy", default="dWr", help="as in the variants; dWr is the fast one")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--step_ms", type=float, help="of a training step, at most")
    budget.add_argument("--memory_gb", type=float, help="that a training step holds, at most")
    parser.add_argument("--batch_size", type=int, help="of the step; without it the fitted one's")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="likewise")
    parser.add_argument("--noise", type=float, default=0.03, help="of a median, as a share")
    arguments = parser.parse_args()
    model = _model(arguments.batch_size, arguments.dtype)
    batch = arguments.batch_size or (model.batch_size if model else 8)
    dtype = arguments.dtype or (model.dtype if model else "float32")

    def tell(line: str) -> None:
        print(f"fastscale_jax: {line}", file=sys.stderr)

    from fastscale_jax.measure.timing import NoisyError

    try:
        is_time = arguments.step_ms is not None
        wanted = arguments.step_ms if is_time else 1e9 * arguments.memory_gb
        if not (wanted > 0 and math.isfinite(wanted) and batch > 0):
            raise ValueError("the budget and the batch size must be above 0")
        measure = (
            _measured_ms(batch, dtype, arguments.noise)
            if is_time
            else _compiled_bytes(batch, dtype)
        )
        found = choose(
            base_architecture(*arguments.base.split(":", 1)),
            arguments.strategy,
            wanted,
            kind="step_ms" if is_time else "memory_bytes",
            measure=measure,
            model=model,
            tell=tell,
        )
    except ValueError as error:
        tell(str(error))
        return 2
    except (UnmetError, NoisyError) as error:
        tell(str(error))
        return 1
    family, _, base = arguments.base.partition(":")
    variant = "_".join(filter(None, (base, arguments.strategy, f"x{found.factor:.12g}")))
    cost = count(found.network)
    amount = f"{found.amount:.4g} ms" if is_time else f"{found.amount / 1e9:.4g} GB"
    print(
        f"{variant}: {amount} for {batch} images in {dtype}; {cost.flops / 1e9:.4g} GF, "
        f"{cost.params / 1e6:.4g} M parameters, {cost.acts / 1e6:.4g} M activations, "
        f"{found.network.resolution} px\n"
        f"python -m fastscale_jax.main --config=configs/{family}.py:{variant} "
        f"--config.data.batch_size={batch} --config.dtype={dtype}"
    )
    return 0


if __name__ == "__main__":
    from fastscale_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
