"""Finds the largest network whose training step takes no more than a budget here, by measuring.

python -m fastscale_jax.measure.choose --base=regnetz:500mf --strategy=dWr --step_ms=25
python -m fastscale_jax.measure.choose --base=regnetz:500mf --strategy=dWr --memory_gb=8

A model of the device (`measure.fit`) gives the first network; without one the base is measured and
its activations stand for the time. What is found is measured, the model is corrected by that, and
so on until a network takes from 90 to 100 % of the budget. What is printed at the end is a variant
with a factor, which names the same network on every machine.
"""

import argparse
import functools
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

from fastscale_jax.arch import Architecture, Complexity, count
from fastscale_jax.arch.budget import largest_factor, nearest_to
from fastscale_jax.arch.device_model import DeviceModel, saved
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.strategies import shares
from fastscale_jax.arch.zoo import base_architecture

_NEAR, _AIM = 0.9, 0.96  # of the budget
_ROUNDS = 8
_LONGEST = 8.0  # step from one price to the next


class Choice(NamedTuple):
    """A network that meets a budget, as measured."""

    factor: float
    network: Architecture
    amount: float  # what it takes


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

    It takes at least 90 % of the budget, unless no network lies between it and one that takes more
    than the budget, or the measurements contradict one another.

    Args:
        base: to scale.
        strategy: a key of `STRATEGIES`, or `a<alpha>`.
        budget: in the unit of `measure`.
        kind: `step_ms` or `memory_bytes`.
        measure: what a network takes; infinite where it does not fit.
        model: to begin with; None: the base's activations are.
        tell: is told of each measurement.

    Raises:
        ValueError: the strategy is unknown.
        UnmetError: every network that was measured takes more than the budget.
    """
    shares(strategy)
    price = _price(base, kind, measure, model)
    known: dict[float, float] = {}  # of the price of a network, what it took
    wanted, best = budget, None
    while len(known) < _ROUNDS:
        factor = _factor(base, strategy, kind, wanted, price, known)
        network, _ = scaled(base, strategy, factor=factor)
        predicted = price(count(network))
        if predicted in known:  # there is no network between this one and the next
            break
        amount = known[predicted] = measure(network)
        tell(f"{strategy} x{factor:.4g}: {_said(amount, kind)} of {_said(budget, kind)}")
        if amount <= budget and (best is None or amount > best.amount):
            best = Choice(factor, network, amount)
        if _NEAR * budget <= amount <= budget:
            break
        wanted = _price_of(_AIM * budget, known)
    if best is None:
        raise UnmetError(
            f"no network of {strategy!r} was found to take at most {_said(budget, kind)}; the "
            f"least of {len(known)} took {_said(min(known.values()), kind)}"
        )
    return best


def _said(amount: float, kind: str) -> str:
    """An amount for people."""
    return f"{amount:,.4g} ms" if kind == "step_ms" else f"{amount / 1e9:,.4g} GB"


def _factor(
    base: Architecture,
    strategy: str,
    kind: str,
    wanted: float,
    price: Callable[[Complexity], float],
    known: dict[float, float],
) -> float:
    """The factor of the next network; where none has the price, that of the nearest."""
    try:
        return largest_factor(base, strategy, kind, wanted, price)
    except ValueError:  # it says so before anything was measured, or of one end of the range
        if not known:
            return 1.0
        nearest = 0.0 if wanted < price(count(base)) else max(known)
        return nearest_to(base, strategy, nearest, price)


def _price_of(amount: float, known: dict[float, float]) -> float:
    """The price at which a network should take an amount, by the two nearest that were measured.

    Time grows as a power of the price, at least over a short way; no step is longer than eightfold.
    """
    finite = {at: took for at, took in known.items() if took < math.inf}
    too_much = min((at for at, took in known.items() if took == math.inf), default=math.inf)
    if not finite:
        return too_much / _LONGEST
    (first, a), *others = sorted(finite.items(), key=lambda x: abs(math.log(x[1] / amount)))
    power = 1.0
    if others and (a - others[0][1]) * (first - others[0][0]) > 0:
        second, b = others[0]
        power = min(max(math.log(b / a) / math.log(second / first), 1 / 3), 3.0)
    step = min(max((amount / a) ** (1 / power), 1 / _LONGEST), _LONGEST)
    return min(first * step, math.sqrt(first * too_much))


def _price(
    base: Architecture,
    kind: str,
    measure: Callable[[Architecture], float],
    model: DeviceModel | None,
) -> Callable[[Complexity], float]:
    if model is not None:
        return functools.partial(model.predict, kind, base.name)
    an_activation = measure(base) / count(base).acts
    if math.isinf(an_activation):
        raise UnmetError(f"not even {base.name} itself fits into the memory here")
    return lambda cost: an_activation * cost.acts


def _measured_ms(batch: int, dtype: str, noise: float) -> Callable[[Architecture], float]:
    import jax

    from fastscale_jax.measure import timing
    from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe
    from fastscale_jax.measure.memory import is_out_of_memory

    def measure(network: Architecture) -> float:
        try:
            step = JaxRunner(network, plain_recipe(batch, dtype)).start("step")
            return 1000 * timing.measure(step, noise=noise).median
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return math.inf

    return measure


def _compiled_bytes(batch: int, dtype: str) -> Callable[[Architecture], float]:
    import jax

    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.measure.memory import peak
    from fastscale_jax.train.sharding import device_mesh

    mesh = device_mesh(jax.local_devices()[:1])
    return lambda network: peak(network, plain_recipe(batch, dtype), mesh)


def _model(
    kind: str, batch: int | None, dtype: str | None, tell: Callable[[str], None]
) -> DeviceModel | None:
    """The model of this very device, if there is one of the same batch and type.

    Raises:
        ValueError: the one that the environment names is not there.
    """
    from fastscale_jax.measure.machine import describe

    models, device = saved(), describe()["device"]
    for model in models.values():
        is_meant = batch in (None, model.batch_size) and dtype in (None, model.dtype)
        if is_meant and (model.device, model.framework) == (device, "jax") and getattr(model, kind):
            tell(f"beginning with what {model.name} says of {device}")
            return model
    if models:
        tell(f"{', '.join(models)}: of other steps or of another device than {device}; not used")
    return None


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

    def tell(line: str) -> None:
        print(f"fastscale_jax: {line}", file=sys.stderr)

    from fastscale_jax.measure.timing import NoisyError

    try:
        is_time = arguments.step_ms is not None
        kind = "step_ms" if is_time else "memory_bytes"
        wanted = arguments.step_ms if is_time else 1e9 * arguments.memory_gb
        if not 0 < wanted < math.inf:
            flag = "--step_ms" if is_time else "--memory_gb"
            raise ValueError(f"{flag} must be a number above 0")
        if arguments.batch_size is not None and arguments.batch_size < 1:
            raise ValueError(f"--batch_size must be above 0; got {arguments.batch_size}")
        shares(arguments.strategy)
        base = base_architecture(*arguments.base.split(":", 1))
        model = _model(kind, arguments.batch_size, arguments.dtype, tell)
        batch = arguments.batch_size or (model.batch_size if model else 8)
        dtype = arguments.dtype or (model.dtype if model else "float32")
        measure = (
            _measured_ms(batch, dtype, arguments.noise)
            if is_time
            else _compiled_bytes(batch, dtype)
        )
        found = choose(
            base,
            arguments.strategy,
            wanted,
            kind=kind,
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
    family, _, name = arguments.base.partition(":")
    variant = "_".join(filter(None, (name, arguments.strategy, f"x{found.factor!r}")))
    cost = count(found.network)
    print(
        f"{variant}: {_said(found.amount, kind)}, {found.amount / wanted:.0%} of the budget, "
        f"for {batch} images in {dtype}; {cost.flops / 1e9:.4g} GF, "
        f"{cost.params / 1e6:.4g} M parameters, {cost.acts / 1e6:.4g} M activations, "
        f"{found.network.resolution} px\n"
        f"python -m fastscale_jax.main --config=configs/{family}.py:{variant} "
        f"--config.data.batch_size={batch} --config.dtype={dtype}"
    )
    if found.amount < _NEAR * wanted:
        tell(f"the next larger network of {arguments.strategy} takes more than the budget")
    return 0


if __name__ == "__main__":
    from fastscale_jax.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
