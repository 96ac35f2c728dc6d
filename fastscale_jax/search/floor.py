"""The floor of a searched network's training step on a device that this machine need not have."""

from fastscale_jax.measure.jax_runner import plain_recipe
from fastscale_jax.search.jobs import FLOOR_MS, Job, UnpricedError
from fastscale_jax.targets.compiler import FailedError
from fastscale_jax.targets.figures import program_figures
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target


def floor_of(job: Job, target: Target, store: Store | None = None) -> dict[str, float]:
    """Returns `floor_ms` of a job's step.

    The batch size and the dtype are the target's usual ones, as in `fastscale curves --target`.

    Args:
        job: its network is compiled, up to the layout.
        target: device or devices to compile for.
        store: cache of outcomes.

    Raises:
        UnpricedError: it does not compile, or does not fit into the target's memory.
        ValueError: the target's compiler is not installed.
    """
    program = Program(job.network, plain_recipe(*target.usual), target, until="layout")
    try:
        figures = program_figures(program, store=store)
    except FailedError as error:
        raise UnpricedError(str(error)) from error
    if figures["floor_ms"] is None or not figures["fits"]:
        raise UnpricedError(f"{program.title}: it needs more memory than there is")
    return {FLOOR_MS: figures["floor_ms"]}
