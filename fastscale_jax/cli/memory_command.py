"""`fastscale memory`: the memory of a training step, and the largest batch that fits."""

import json

from fastscale_jax.cli.options import (
    Config,
    OptionalPath,
    Output,
    Processes,
    Session,
    check_amount,
    run_to_measure,
)
from fastscale_jax.cli.status_line import shown_progress
from fastscale_jax.targets.compiler import FailedError
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.utils.console import FAILURE, OK, complain, print_table


def memory(
    config: Config = None,
    *,
    workdir: OptionalPath = None,
    target: str | None = None,
    memory_gb: float | None = None,
    format: Output = "table",  # noqa: A002 # the flag has this name
    processes: Processes = Processes(),
    session: Session = Session(),
) -> int:
    """Shows the memory of a training step and the largest batch that fits.

    Returns the exit status.

    Args:
        config: a recipe.
        workdir: Folder of a run; without a recipe, its config.json is used.
        target: Device to compile for, as in gpu:h100, gpu:h100:8 or tpu:v5e:4x4. The program is not
            run; this machine need not have the device.
        memory_gb: Memory per device to find the largest batch for, in gigabytes (1e9 bytes).
            Default: the device's own memory.
        format: json prints one object on stdout.
        processes: see `Processes`.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.targets import held

    try:
        check_amount("memory_gb", memory_gb, 0.001, 1e6)
        processes.check_alone("memory")
        device = Target.parse(target) if target else None
        run = run_to_measure(config, workdir)
        with shown_progress() as tell:
            store = Store(session.targets) if session.targets else None
            holds = held.held(
                run.network, run.recipe, gigabytes=memory_gb, target=device, store=store, tell=tell
            )
    except FailedError as error:
        complain(str(error))
        return FAILURE
    if format == "json":
        print(json.dumps(holds))
    else:
        print_table(held.memory_table(holds))
    return OK
