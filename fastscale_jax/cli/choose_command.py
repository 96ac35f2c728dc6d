"""`fastscale choose`: the largest network within a budget, by measuring or by compiling."""

import math
import pathlib
from collections.abc import Callable
from typing import Literal

from fastscale_jax.arch import Architecture, count
from fastscale_jax.arch.strategies import shares, spelled
from fastscale_jax.arch.zoo import base_architecture, spelled_base
from fastscale_jax.cli.options import Session, Whole
from fastscale_jax.measure.choose import (
    NEAR,
    Choice,
    Measure,
    UnmetError,
    choose,
    compiled_bytes,
    in_words,
    measured_ms,
    model_of_here,
)
from fastscale_jax.targets.compiler import FailedError
from fastscale_jax.targets.target import Target
from fastscale_jax.utils.console import FAILURE, OK, complain

_KINDS = {"step_ms": "step_ms", "memory_gb": "memory_bytes", "floor_ms": "floor_ms"}


def choose_network(
    base: str,
    *,
    strategy: str = "dWr",
    step_ms: float | None = None,
    memory_gb: float | None = None,
    floor_ms: float | None = None,
    target: str | None = None,
    batch_size: Whole | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    noise: float = 0.03,
    session: Session = Session(),
) -> int:
    """Finds the largest network within a budget of time or memory. Returns the exit status.

    Prints a variant with its scaling factor; it names the same network on every machine.

    Args:
        base: family:base, as in regnetz:500mf.
        strategy: Scaling strategy, as in the variants; dWr is the fast one.
        step_ms: Budget: largest time of a training step on this machine, in milliseconds.
        memory_gb: Budget: largest memory of a training step, in gigabytes (1e9 bytes). Default with
            --target: what programs may use there.
        floor_ms: Budget: largest floor of the compiled step on --target, in milliseconds. The floor
            is the least possible time.
        target: Device to compile for, as in gpu:h100 or tpu:v5e:2x2. This machine need not have it.
        batch_size: Images per step. Default: that of the fitted device, or 128 per device of
            --target.
        dtype: Type of the computation. Default: that of the fitted device, or the target's 16-bit
            type.
        noise: Largest relative error of a median time.
        session: see `Session`.
    """
    session.start(runs=True)
    from fastscale_jax.measure.timing import NoisyError

    try:
        budgets = {"step_ms": step_ms, "memory_gb": memory_gb, "floor_ms": floor_ms}
        kind, wanted = _budget(budgets, target)
        device = Target.parse(target) if target else None
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"--batch_size must be above 0; got {batch_size}")
        shares(strategy)
        strategy, base = spelled(strategy), spelled_base(base)
        network = base_architecture(*base.split(":"))
        model = None if device else model_of_here(kind, batch_size, dtype, complain)
        usual = device.usual if device else (8, "float32")
        batch = batch_size or (model.batch_size if model else usual[0])
        dtype = dtype or (model.dtype if model else usual[1])  # pyright: ignore[reportAssignmentType]
        assert dtype is not None
        choice = choose(
            network,
            strategy,
            wanted,
            kind=kind,
            measure=_measure(device, kind, batch, dtype, noise, session),
            model=model,
            tell=complain,
        )
    except (UnmetError, NoisyError, FailedError) as error:
        complain(str(error))
        return FAILURE
    _tell(base, strategy, kind, wanted, choice, device, batch, dtype)
    return OK


def _tell(
    base: str,
    strategy: str,
    kind: str,
    wanted: float,
    choice: Choice,
    device: Target | None,
    batch: int,
    dtype: str,
) -> None:
    """Prints the network, and how to train it."""
    family, _, name = base.partition(":")
    variant = "_".join(filter(None, (name, strategy, f"x{choice.factor!r}")))
    cost = count(choice.network)
    print(
        f"{variant}: {in_words(choice.amount, kind)}, {choice.amount / wanted:.0%} of the budget, "
        f"for {batch} images in {dtype}; {cost.flops / 1e9:.4g} GF, "
        f"{cost.params / 1e6:.4g} M parameters, {cost.acts / 1e6:.4g} M activations, "
        f"{choice.network.resolution} px\n"
        f"fastscale train {family}:{variant} "
        f"--config.data.batch_size={batch} --config.dtype={dtype}"
    )
    if device:
        complain(
            "augmentation is not included; for the cost with it: fastscale program "
            f"{family}:{variant} --target={device.name} --config.data.batch_size={batch} "
            f"--config.dtype={dtype}"
        )
    if choice.amount < NEAR * wanted:
        complain(f"no larger network of {strategy} was found that fits the budget")


def _budget(budgets: dict[str, float | None], target: str | None) -> tuple[str, float]:
    """The kind and the amount of the budget.

    Raises:
        ValueError: several budgets, or none without a --target; a number below 0; or a budget that
            is not for the --target.
    """
    chosen = {flag: amount for flag, amount in budgets.items() if amount is not None}
    if not chosen and target:
        return "memory_bytes", Target.parse(target).usable_bytes
    if len(chosen) != 1:
        raise ValueError(
            "give exactly one budget: --step_ms, --memory_gb or --floor_ms; or only a --target"
        )
    ((flag, amount),) = chosen.items()
    if not 0 < amount < math.inf:
        raise ValueError(f"--{flag} must be a number above 0")
    if flag == "step_ms" and target:
        raise ValueError(
            "--step_ms is measured on this machine and cannot be used with --target; give "
            "--floor_ms, the least possible time of the compiled step there"
        )
    if flag == "floor_ms" and not target:
        raise ValueError("--floor_ms needs a --target; give --step_ms for this machine's device")
    return _KINDS[flag], 1e9 * amount if flag == "memory_gb" else amount


def _measure(
    device: Target | None, kind: str, batch: int, dtype: str, noise: float, session: Session
) -> Measure:
    """Returns the function that computes a network's step cost in the budget's unit.

    Raises:
        ValueError: the devices have no such dtype, or cannot share the batch.
    """
    if device is None:
        of_time = kind == "step_ms"
        return measured_ms(batch, dtype, noise) if of_time else compiled_bytes(batch, dtype)
    device.device.peak(dtype)
    if batch % device.count:
        raise ValueError(
            f"--batch_size={batch} cannot be shared by {device.count} devices; give a multiple of "
            "their number"
        )
    return _on_target(device, kind, batch, dtype, session.targets, complain)


def _on_target(
    target: Target,
    kind: str,
    batch: int,
    dtype: str,
    store: pathlib.Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Measure:
    """Returns the function that compiles a step for a target and gives its memory or floor."""
    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.targets.figures import program_figures
    from fastscale_jax.targets.program import Program
    from fastscale_jax.targets.store import Store

    def measure(_: float, network: Architecture) -> float:
        # a TPU program's memory is known only after full compilation
        is_rough = kind == "memory_bytes" and target.device.platform == "tpu"
        until = "end" if is_rough else "layout"
        recipe = plain_recipe(batch, dtype, average=kind == "memory_bytes")
        program = Program(network, recipe, target, until=until)
        flops = count(network).flops / 1e9
        tell(f"compiling for {target.name}: {network.name}, {flops:.3g} GF")
        figures = program_figures(program, store=Store(store) if store else None)
        if not figures["fits"]:
            return math.inf
        return figures["peak_bytes"] if kind == "memory_bytes" else figures["floor_ms"]

    return measure
