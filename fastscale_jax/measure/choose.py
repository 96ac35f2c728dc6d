"""Finds the largest network whose training step takes no more than a budget, by measuring.

A "price" predicts a network's time or memory from its counts: it is the device model's prediction
(`measure.fit`), or, without a model, proportional to the activations. Each network is measured, the
price is corrected by the result, and the next network is chosen, until one takes from 90 to 100 %
of the budget.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fastscale_jax.arch import Architecture, Complexity, count
from fastscale_jax.arch.budget import largest_factor, nearest_to
from fastscale_jax.arch.device_model import DeviceModel
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.strategies import shares
from fastscale_jax.measure.fitted import saved

NEAR, _AIM = 0.9, 0.96  # shares of the budget: the search's end, and its aim
_ROUNDS = 8
_LONGEST = 8.0  # largest ratio of consecutive prices

# (factor, network) -> time or memory of a step; infinite if the network does not fit
Measure = Callable[[float, Architecture], float]


class Choice(NamedTuple):
    """A network that meets a budget, as measured."""

    factor: float
    network: Architecture
    amount: float  # measured time or memory, in the budget's unit


class UnmetError(Exception):
    """No network was found that meets the budget; the message names the nearest one."""


def choose(
    base: Architecture,
    strategy: str,
    budget: float,
    *,
    kind: str,
    measure: Measure,
    model: DeviceModel | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Choice:
    """Returns the largest network of a strategy that meets a budget, as measured.

    Among the measured networks within the budget it has most flops. It takes at least 90 % of the
    budget, unless the next larger network exceeds the budget or the measurements are inconsistent.

    Args:
        base: network to scale.
        strategy: as in `arch.strategies.strategy_of`.
        budget: in the unit of `measure`.
        kind: `step_ms`, `floor_ms` or `memory_bytes`.
        measure: (factor, network) -> time or memory; infinite if the network does not fit.
        model: first predictor; None: activations, scaled by a measurement of the base.
        tell: called with a line for each measurement.

    Raises:
        ValueError: the strategy is unknown.
        UnmetError: every network that was measured takes more than the budget.
    """
    shares(strategy)
    measured: list[Choice] = []

    def take(factor: float, network: Architecture) -> Choice:
        measured.append(Choice(factor, network, measure(factor, network)))
        amount = measured[-1].amount
        took = "too much" if math.isinf(amount) else in_words(amount, kind)
        amounts = f"{took} of {in_words(budget, kind)}"
        tell(f"{strategy} x{factor:.4g}, {count(network).flops / 1e9:.4g} GF: {amounts}")
        return measured[-1]

    price = _price(base, kind, take, model)
    wanted = min([budget, *(_LONGEST * choice.amount for choice in measured)])
    while len(measured) < _ROUNDS:
        known = {price(count(choice.network)): choice.amount for choice in measured}
        factor = _factor(base, strategy, kind, wanted, price, known)
        network, _ = scaled(base, strategy, factor=factor)
        predicted = price(count(network))
        if predicted in known:  # rounding gave a network that was measured already
            break
        choice = take(factor, network)
        if NEAR * budget <= choice.amount and choice is _largest(measured, budget):
            break
        wanted = _price_of(_AIM * budget, {**known, predicted: choice.amount})
    largest = _largest(measured, budget)
    if largest is None:
        least = min(choice.amount for choice in measured)
        raise UnmetError(
            f"no network of {strategy!r} was found to take at most {in_words(budget, kind)}; the "
            f"least of {len(measured)} took {in_words(least, kind)}"
        )
    return largest


def _largest(measured: Sequence[Choice], budget: float) -> Choice | None:
    """The network with most flops within the budget; with noise another one may take more time."""
    fitting = [choice for choice in measured if choice.amount <= budget]
    return max(fitting, key=lambda choice: count(choice.network).flops, default=None)


def in_words(amount: float, kind: str) -> str:
    """An amount with its unit, as text."""
    return f"{amount / 1e9:,.4g} GB" if kind == "memory_bytes" else f"{amount:,.4g} ms"


def _factor(
    base: Architecture,
    strategy: str,
    kind: str,
    wanted: float,
    price: Callable[[Complexity], float],
    known: dict[float, float],
) -> float:
    """The next network's factor: at the price `wanted`, or else at the nearest possible price."""
    try:
        return largest_factor(base, strategy, kind, wanted, price)
    except ValueError:  # no factor gives this price
        if not known:
            return 1.0
        nearest = 0.0 if wanted < price(count(base)) else max(known)
        return nearest_to(base, strategy, nearest, price)


def _price_of(amount: float, known: dict[float, float]) -> float:
    """The price at which a network should take an amount, from the two nearest measurements.

    Assumes that time grows as a power of the price between near points. The price changes at most
    eightfold.
    """
    finite = {at: took for at, took in known.items() if took < math.inf}
    too_much = min((at for at, took in known.items() if took == math.inf), default=math.inf)
    if not finite:
        return too_much / _LONGEST
    # time may jump where the compiler changes kernels, so points on both sides are preferred
    if (between := _between(amount, finite)) is not None and between < too_much:
        return between
    (first, a), *others = sorted(finite.items(), key=lambda x: abs(math.log(x[1] / amount)))
    power = 1.0
    if others and (a - others[0][1]) * (first - others[0][0]) > 0:
        second, b = others[0]
        power = min(max(math.log(b / a) / math.log(second / first), 1 / 3), 3.0)
    step = min(max((amount / a) ** (1 / power), 1 / _LONGEST), _LONGEST)
    return min(first * step, math.sqrt(first * too_much))


def _between(amount: float, known: dict[float, float]) -> float | None:
    """The price interpolated between the last amount within the limit and the first beyond it.

    None: one of them is missing, or the measurements are inconsistent.
    """
    within = max((at for at, took in known.items() if took <= amount), default=0.0)
    beyond = min((at for at, took in known.items() if took > amount), default=math.inf)
    if not 0 < within < beyond < math.inf:
        return None
    share = math.log(amount / known[within]) / math.log(known[beyond] / known[within])
    return within * (beyond / within) ** share


def _price(
    base: Architecture,
    kind: str,
    take: Callable[[float, Architecture], Choice],
    model: DeviceModel | None,
) -> Callable[[Complexity], float]:
    if model is not None:
        return functools.partial(model.predict, kind, base.name)
    an_activation = take(1.0, base).amount / count(base).acts
    if math.isinf(an_activation):
        raise UnmetError(f"even the base, {base.name}, does not fit into this device's memory")
    return lambda cost: an_activation * cost.acts


def measured_ms(batch: int, dtype: str, noise: float) -> Measure:
    """Returns a function that times a network's step here, in ms; infinite if it does not fit."""
    import jax

    from fastscale_jax.measure import timing
    from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe
    from fastscale_jax.utils.usage import is_out_of_memory

    def measure(_: float, network: Architecture) -> float:
        try:
            step = JaxRunner(network, plain_recipe(batch, dtype)).start("step")
            return 1000 * timing.measure(step, noise=noise).median
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return math.inf

    return measure


def compiled_bytes(batch: int, dtype: str) -> Measure:
    """Returns a function that compiles a network's step here and gives its memory in bytes.

    The step keeps the average of the weights, as the recipes do.
    """
    import jax

    from fastscale_jax.distributed.sharding import device_mesh
    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.measure.memory import peak

    mesh = device_mesh(jax.local_devices()[:1])
    return lambda _, network: peak(network, plain_recipe(batch, dtype, average=True), mesh)


def model_of_here(
    kind: str, batch: int | None, dtype: str | None, tell: Callable[[str], None]
) -> DeviceModel | None:
    """The saved model of this device, batch size and type; None: there is none.

    Raises:
        ValueError: `FASTSCALE_DEVICE` names a model that does not exist.
    """
    from fastscale_jax.measure.machine import describe

    models, device = saved(), describe()["device"]
    for model in models.values():
        is_meant = batch in (None, model.batch_size) and dtype in (None, model.dtype)
        if is_meant and (model.device, model.framework) == (device, "jax") and getattr(model, kind):
            tell(f"starting with the model {model.name} of {device}")
            return model
    if models:
        tell(f"{', '.join(models)}: not used; for another step or another device than {device}")
    return None


if __name__ == "__main__":
    from fastscale_jax.main import face

    face("choose")
