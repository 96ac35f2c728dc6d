"""`fastscale program`: a compiled program's kernels, bytes and least possible time."""

import json
from typing import Literal

from fastscale_jax.arch import Architecture
from fastscale_jax.cli.options import (
    Config,
    OptionalPath,
    Output,
    Session,
    check_amount,
    run_to_measure,
)
from fastscale_jax.cli.status_line import shown_progress
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.targets.compiler import FailedError, Tell
from fastscale_jax.targets.extras import compiled_for
from fastscale_jax.targets.figures import program_figures
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.program_table import program_table
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.train.batch import check_batch_is_known
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.utils.console import FAILURE, OK, complain, print_table


def program(
    config: Config = None,
    *,
    workdir: OptionalPath = None,
    target: str | None = None,
    part: Literal["step", "inference"] = "step",
    memory_gb: float | None = None,
    format: Output = "table",  # noqa: A002 # the flag has this name
    session: Session = Session(),
) -> int:
    """Shows a compiled program's kernels, their bytes, and the program's least possible time.

    Returns the exit status.

    Args:
        config: a recipe.
        workdir: Folder of a run; without a recipe, its config.json is used.
        target: Device to compile for, as in gpu:h100, gpu:h100:8 or tpu:v5e:4x4. The program is not
            run; this machine need not have the device. Default: this machine's device.
        part: step: a training step; inference: the forward pass in evaluation mode.
        memory_gb: Memory per device, in gigabytes (1e9 bytes). Default: the device's own memory.
        format: json prints one object on stdout.
        session: see `Session`.
    """
    session.start()
    check_amount("memory_gb", memory_gb, 0.001, 1e6)
    limit = int(memory_gb * 1e9) if memory_gb else None
    session.check_store()
    try:
        device = Target.parse(target) if target else None
        run = run_to_measure(config, workdir)
        recipe, store = run.recipe, Store(session.targets) if session.targets else None
        with shown_progress() as tell:
            if not recipe.data.batch_size:
                recipe = _filled(run.network, recipe, device, part, limit, store, tell)
            compiled = Program(run.network, recipe, device, part)
            figures = program_figures(compiled, store=store, usable_bytes=limit, tell=tell)
    except FailedError as error:
        complain(str(error))
        return FAILURE
    if format == "json":
        origin = provenance(compiled_for(device.name, device.device.platform)) if device else {}
        print(json.dumps(figures | origin))
    else:
        print_table(program_table(figures))
    return OK


def _filled(
    network: Architecture,
    recipe: Recipe,
    target: Target | None,
    part: str,
    limit: int | None,
    store: Store | None,
    tell: Tell,
) -> Recipe:
    """The recipe with the largest batch that fits.

    Raises:
        ValueError: no target, or inference; or not even the smallest batch fits.
    """
    if target is None or part != "step":
        check_batch_is_known(recipe)
    assert target is not None
    from fastscale_jax.measure.memory import with_batch
    from fastscale_jax.targets.largest import largest_batch

    limit = limit or target.usable_bytes
    largest = largest_batch(network, recipe, target, limit, store=store, tell=tell)
    return with_batch(recipe, largest.images)
