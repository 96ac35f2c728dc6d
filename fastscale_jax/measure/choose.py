"""Finds the largest network whose training step takes no more than a budget here, by measuring.

python -m fastscale_jax.measure.choose --base=regnetz:500mf --strategy=dWr --step_ms=25
python -m fastscale_jax.measure.choose --base=regnetz:500mf --strategy=dWr --memory_gb=8
python -m fastscale_jax.measure.choose --base=regnetz:500mf --strategy=dWr --memory_gb=40 \
  --target=gpu:h100 --batch_size=256 --dtype=bfloat16

A model of the device (`measure.fit`) gives the first network; without one the base is measured and
its activations stand for the time. What is found is measured, the model is corrected by that, and
so on until a network takes from 90 to 100 % of the budget. What is printed at the end is a variant
with a factor, which names the same network on every machine. With --target the device need not be
here: programs are compiled for it, and the budget is of memory or of the floor.
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
from fastscale_jax.targets.compiler import FailedError
from fastscale_jax.targets.target import Target

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
        kind: `step_ms`, `floor_ms` or `memory_bytes`.
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
    return f"{amount / 1e9:,.4g} GB" if kind == "memory_bytes" else f"{amount:,.4g} ms"


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

    from fastscale_jax.distributed.sharding import device_mesh
    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.measure.memory import peak

    mesh = device_mesh(jax.local_devices()[:1])
    return lambda network: peak(network, plain_recipe(batch, dtype), mesh)


def _on_target(
    target: Target,
    kind: str,
    batch: int,
    dtype: str,
    tell: Callable[[str], None] = lambda line: None,
) -> Callable[[Architecture], float]:
    """What a step holds on a device that need not be here, or the least time it can take there."""
    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.targets.figures import program_figures
    from fastscale_jax.targets.program import Program
    from fastscale_jax.targets.store import Store

    def measure(network: Architecture) -> float:
        # a TPU's program has some of its memory only at the end
        is_rough = kind == "memory_bytes" and target.device.platform == "tpu"
        until = "end" if is_rough else "layout"
        program = Program(network, plain_recipe(batch, dtype), target, until=until)
        flops = count(network).flops / 1e9
        tell(f"compiling for {target.name}: {network.name}, {flops:.3g} GF")
        found = program_figures(program, store=Store())
        if not found["fits"]:
            return math.inf
        return found["peak_bytes"] if kind == "memory_bytes" else found["floor_ms"]

    return measure


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


def _budget(arguments: argparse.Namespace) -> tuple[str, float]:
    """The kind of a budget, and how much it is.

    Raises:
        ValueError: it is no budget, or not one of the device that is asked for.
    """
    flags = {"step_ms": "step_ms", "memory_gb": "memory_bytes", "floor_ms": "floor_ms"}
    (flag,) = (name for name in flags if getattr(arguments, name) is not None)
    amount = getattr(arguments, flag)
    if not 0 < amount < math.inf:
        raise ValueError(f"--{flag} must be a number above 0")
    if flag == "step_ms" and arguments.target:
        raise ValueError(
            "--step_ms is measured, and --target is not here; give --floor_ms, the least time that "
            "the compiled step can take there"
        )
    if flag == "floor_ms" and not arguments.target:
        raise ValueError("--floor_ms is for a --target; give --step_ms for the device here")
    return flags[flag], 1e9 * amount if flag == "memory_gb" else amount


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
    budget.add_argument("--floor_ms", type=float, help="of a step's floor, at most; for --target")
    parser.add_argument(
        "--target", help="a device that need not be here, as in gpu:h100 or tpu:v5e:2x2"
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        help="of the step; without it the fitted one's, or 128 a device of --target",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="likewise")
    parser.add_argument("--noise", type=float, default=0.03, help="of a median, as a share")
    arguments = parser.parse_args()

    def tell(line: str) -> None:
        print(f"fastscale_jax: {line}", file=sys.stderr)

    from fastscale_jax.measure.timing import NoisyError

    try:
        kind, wanted = _budget(arguments)
        target = Target.parse(arguments.target) if arguments.target else None
        if arguments.batch_size is not None and arguments.batch_size < 1:
            raise ValueError(f"--batch_size must be above 0; got {arguments.batch_size}")
        shares(arguments.strategy)
        base = base_architecture(*arguments.base.split(":", 1))
        model = None if target else _model(kind, arguments.batch_size, arguments.dtype, tell)
        usual = target.usual if target else (8, "float32")
        batch = arguments.batch_size or (model.batch_size if model else usual[0])
        dtype = arguments.dtype or (model.dtype if model else usual[1])
        if target:
            target.device.peak(dtype)
            if batch % target.count:
                raise ValueError(
                    f"--batch_size={batch} cannot be shared by {target.count} devices; give a "
                    "multiple of their number"
                )
            measure = _on_target(target, kind, batch, dtype, tell)
        elif kind == "step_ms":
            measure = _measured_ms(batch, dtype, arguments.noise)
        else:
            measure = _compiled_bytes(batch, dtype)
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
    except KeyboardInterrupt:
        tell("interrupted")
        return 1
    except (UnmetError, NoisyError, FailedError) as error:
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
    if target:
        tell(
            "that is without augmentation, which moves bytes of its own; the same command with "
            f"--mode=program --target={target.name} says what all of it costs there"
        )
    if found.amount < _NEAR * wanted:
        tell(f"the next larger network of {arguments.strategy} takes more than the budget")
    return 0


if __name__ == "__main__":
    from fastscale_jax.utils.huge_pages import restart_with_huge_pages

    restart_with_huge_pages()
    sys.exit(main())
