"""The cost of a compiled program on a device: memory, kernels, bytes, and the least possible time.

Nothing is run. Memory, kernels and bytes are those of the real program; no time is measured.
See docs/accelerators.md.
"""

from typing import Any, NamedTuple

from fastscale_jax.arch import count
from fastscale_jax.targets import kernels
from fastscale_jax.targets.compiler import TIMEOUT_SECONDS, FailedError, Tell, compiled
from fastscale_jax.targets.devices import by_kind
from fastscale_jax.targets.program import Outcome, Program
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.train.batch import check_divides

_ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
_NETWORKS_IN = {"step": 3, "inference": 1}  # cost in forward passes; gradients cost two more
_OPERATIONS = 2  # device operations per flop; our flop is one multiply-add
# keys of every program's results; null if it does not fit
_OF_A_PROGRAM = (
    "peak_bytes",
    "flops",
    "bytes",
    "passes",
    "floor_ms",
    "collectives",
    "kernels",
    "compiler_estimate_ms",
)


class Rates(NamedTuple):
    """The memory and the peak rates of a device for a program."""

    usable_bytes: int  # memory that programs may use
    bandwidth: float  # of that memory, bytes per second
    peak: float  # operations per second in the program's dtype; a multiply-add counts as two
    origin: str  # source of the rates


def program_figures(
    program: Program,
    *,
    store: Store | None = None,
    usable_bytes: int | None = None,
    timeout: float = TIMEOUT_SECONDS,
    tell: Tell = lambda line: None,
) -> dict[str, Any]:
    """Returns the cost of a program on each of its devices, ready for JSON.

    Args:
        program: program to compile, unless the store has it.
        store: cache of outcomes; None: no cache.
        usable_bytes: memory per device; None: the part that programs may use.
        timeout: most seconds for the compiler.
        tell: called with the compiler's stage.

    Raises:
        FailedError: the compiler fails for another reason than lack of memory.
        ValueError: the devices cannot share the batch evenly, the device has no such dtype, or the
            target's compiler is not installed.
    """
    target, dtype = program.target, program.recipe.dtype
    if target is not None:
        check_divides(program.recipe, target.count)
        target.device.peak(dtype)  # raises for an unknown dtype before anything is compiled
    outcome = compiled(program, store=store, timeout=timeout, tell=tell)
    if outcome.failure not in ("", "out of memory"):
        raise FailedError(program, outcome)
    rates = _rates(program, outcome)
    if usable_bytes is not None:
        rates = rates._replace(usable_bytes=usable_bytes)
    return figures(program, outcome, rates)


def figures(program: Program, outcome: Outcome, rates: Rates) -> dict[str, Any]:
    """Returns the cost of a compiled program on each of its devices, ready for JSON.

    Args:
        program: the compiled program's description.
        outcome: the compiled program, or a failure for lack of memory.
        rates: the device's memory and rates.
    """
    network, recipe, target = program.network, program.recipe, program.target
    devices = target.count if target else outcome.here.get("devices", 1)
    asked = {
        "network": network.name,
        "part": program.part,
        "target": target.name if target else None,
        "device": target.device.name if target else outcome.here.get("kind"),
        "devices": devices,
        "batch_size": recipe.data.batch_size,
        "dtype": recipe.dtype,
        "limit_bytes": rates.usable_bytes,
    }
    if outcome.failure:
        return {**asked, "fits": False, **dict.fromkeys(_OF_A_PROGRAM), "reason": outcome.reason}
    held = outcome.peak_bytes
    assert held is not None  # a program that did not fail has its memory
    images, cost = recipe.data.batch_size // devices, count(network)
    activations = _ITEMSIZE[recipe.dtype] * cost.acts * images
    return {
        **asked,
        "fits": held <= rates.usable_bytes,
        "peak_bytes": held,
        **_of_module(kernels.count(outcome.text), rates, activations, target),
        **{f"{name}_bytes": size for name, size in (outcome.memory or {}).items()},
        "analytic_flops": cost.flops * images * _NETWORKS_IN[program.part],
        "activation_bytes": activations,
        "bandwidth": rates.bandwidth,
        "peak_operations": rates.peak,
        "rates_origin": rates.origin,
        "seconds": dict(outcome.seconds),
    }


def _of_module(
    counted: kernels.ProgramCount, rates: Rates, activations: int, target: Target | None
) -> dict[str, Any]:
    """The results that are counted in the optimised module."""
    floor = counted.floor(rates.bandwidth, rates.peak)
    return {
        "flops": counted.flops // _OPERATIONS,
        "bytes": counted.bytes,
        "passes": counted.bytes / activations,
        "floor_ms": 1e3 * floor.seconds,
        "collectives": {
            name: {"count": total.count, "bytes": total.bytes}
            for name, total in counted.collectives.items()
        },
        "kernels": {
            name: {**total._asdict(), "flops": total.flops // _OPERATIONS}
            for name, total in counted.by_kind().items()
        },
        "compiler_estimate_ms": _estimate_ms(counted.estimated_cycles, target),
        "useful_flops": counted.useful_flops // _OPERATIONS,
        "floor_memory_ms": 1e3 * floor.memory_seconds,
        "floor_operations_ms": 1e3 * floor.operation_seconds,
        "kernel_count": counted.count,
        "small_kernel_count": counted.small,
        "unknown_loops": counted.unknown_loops,
        "avoidable_bytes": dict(counted.avoidable),
        "custom_calls": sorted(counted.custom_calls),
    }


def _estimate_ms(cycles: int | None, target: Target | None) -> float | None:
    """The compiler's estimate in ms; it ranks programs but is not a measured time."""
    clock = target.device.clock_hz if target else None
    return None if cycles is None or clock is None else 1e3 * cycles / clock


def _rates(program: Program, outcome: Outcome) -> Rates:
    """The manufacturer's rates; measured rates for attached devices that are not in the table."""
    target, dtype = program.target, program.recipe.dtype
    if target is not None:
        device = target.device
        rates = device.bandwidth, device.peak(dtype)
        return Rates(target.usable_bytes, *rates, f"{device.name}, as its maker says")
    usable = outcome.here.get("usable_bytes", 0)
    device = by_kind(outcome.here.get("kind", ""))
    if device is not None and dtype in device.peak_flops:
        rates = device.bandwidth, device.peak(dtype)
        return Rates(usable, *rates, f"{device.name}, as its maker says")
    from fastscale_jax.measure import roofline  # imports JAX, which a target does not need

    measured = roofline.ceilings(dtype)
    return Rates(usable, measured.memory, measured.flops, measured.origin)
