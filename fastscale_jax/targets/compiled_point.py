"""One network's compiled training step as a point of a curve."""

from typing import Any

from fastscale_jax.arch import count
from fastscale_jax.measure.points import NO_MEMORY, Spec
from fastscale_jax.targets.compiler import FailedError
from fastscale_jax.targets.extras import compiled_for
from fastscale_jax.targets.figures import program_figures
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target

# results of `figures.figures` that a point keeps
_KEPT = (
    "floor_ms",
    "floor_memory_ms",
    "floor_operations_ms",
    "bytes",
    "passes",
    "kernel_count",
    "small_kernel_count",
    "collectives",
    "kernels",
    "avoidable_bytes",
)


def compiled_point(
    spec: Spec, target: Target, *, timeout: float, store: Store | None = None
) -> dict[str, Any]:
    """Returns the results of one point's step on a target, or the error.

    Args:
        spec: the point; batch size 0: the largest that fits.
        target: target to compile for.
        timeout: most seconds for the compiler.
        store: cache of outcomes.

    Raises:
        ValueError: the target has no such dtype, or its compiler is not installed.
    """
    # imported late: they import JAX, which only a point's own process may do when it is measured
    from fastscale_jax.measure.jax_runner import plain_recipe
    from fastscale_jax.measure.memory import NoRoomError
    from fastscale_jax.targets.largest import largest_batch

    network, batch = spec.network(), spec.batch_size * target.count
    try:
        if not batch:
            recipe = plain_recipe(1, spec.dtype)
            limit, options = target.usable_bytes, {"until": "layout", "timeout": timeout}
            batch = largest_batch(network, recipe, target, limit, store=store, **options).images
        program = Program(network, plain_recipe(batch, spec.dtype), target, until="layout")
        figures = program_figures(program, store=store, timeout=timeout)
    except FailedError as error:
        return {"error": str(error)}
    except NoRoomError:
        return {"error": NO_MEMORY}
    if figures["peak_bytes"] is None:
        return {"error": NO_MEMORY}
    return {
        "network": network.name,
        "side": network.resolution,
        "images": batch,
        **count(network)._asdict(),
        **{name: figures[name] for name in _KEPT},
        "memory_bytes": figures["peak_bytes"],
        "fits": figures["fits"],
        "compile_seconds": sum(figures["seconds"].values()),
        "machine": compiled_for(target.name, target.device.platform),
    }
