"""`fastscale time`: times a training step and an evaluation on this machine."""

import json
from typing import TYPE_CHECKING, Any

from fastscale_jax.cli.options import (
    Config,
    OptionalPath,
    Output,
    Processes,
    Session,
    check_amount,
    run_to_measure,
)
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.console import FAILURE, OK, complain, print_table, usage_error

if TYPE_CHECKING:
    from fastscale_jax.arch import Architecture
    from fastscale_jax.measure.roofline import Ceilings
    from fastscale_jax.train.recipe import Recipe


def time(
    config: Config = None,
    *,
    workdir: OptionalPath = None,
    noise: float = 0.03,
    strict: bool = False,
    memory_gb: float | None = None,
    profile: OptionalPath = None,
    format: Output = "table",  # noqa: A002 # the flag has this name
    processes: Processes = Processes(),
    session: Session = Session(),
) -> int:
    """Times a training step and an evaluation on this machine. Returns the exit status.

    Args:
        config: a recipe.
        workdir: Folder of a run; without a recipe, its config.json is used.
        noise: Relative error of a median time at which sampling stops; it stops after a minute at
            the latest.
        strict: Report nothing and exit with status 1 if an error is larger than --noise.
        memory_gb: Memory per device that --config.data.batch_size=auto fills, in gigabytes (1e9
            bytes). Default: the device's own memory.
        profile: Folder for a profile of five steps, for xprof, TensorBoard or ui.perfetto.dev.
        format: json prints one object on stdout.
        processes: see `Processes`.
        session: see `Session`.
    """
    session.start(runs=True)
    from fastscale_jax.arch.size_limits import check_cost
    from fastscale_jax.measure import step_times
    from fastscale_jax.measure.limits import known_room
    from fastscale_jax.measure.timing import NoisyError
    from fastscale_jax.runs.auto_batch import out_of_memory, with_batch_size
    from fastscale_jax.utils.usage import is_out_of_memory

    check_amount("noise", noise, 0.001)
    check_amount("memory_gb", memory_gb, 0.001, 1e6)
    processes.check_alone("time")
    run = run_to_measure(config, workdir)
    check_cost(run.network, known_room())
    run = with_batch_size(run, gigabytes=memory_gb)
    try:
        network, recipe = run.network, run.recipe
        timed = step_times.timed(
            network,
            recipe,
            noise=noise,
            profile=profile,
            known=_published(recipe.dtype),
            strict=strict,
            tell=complain,
        )
        if timed["noise"] <= noise:  # a noisier time cannot be compared
            _compare(network, recipe, timed)
        if run.scaling is not None:  # only scaled variants have a budget
            timed |= _of_budget(run, timed)
    except NoisyError as error:
        complain(str(error))
        return FAILURE
    except OSError as error:
        return usage_error(f"--profile={profile} cannot be written: {error.strerror}")
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        complain(out_of_memory(run))
        return FAILURE
    if format == "json":
        print(json.dumps(timed))
    else:
        print_table(step_times.step_times_table(timed))
    return OK


def _compare(network: "Architecture", recipe: "Recipe", timed: dict[str, Any]) -> None:
    """Prints why the step time differs from the previous one on this machine."""
    from fastscale_jax.measure import earlier

    before = earlier.exchange(earlier.key(network, recipe), timed, earlier.default_path())
    if before is not None and (why := earlier.explained(timed, before)):
        complain(why)


def _published(dtype: str) -> "Ceilings | None":
    """The manufacturer's bfloat16 rates of this machine's devices; None: unknown, or another dtype.

    A device's rate in float32 depends on JAX's precision setting.
    """
    import jax

    from fastscale_jax.measure.roofline import Ceilings
    from fastscale_jax.targets.devices import makers_rates

    kind = jax.local_devices()[0].device_kind
    rates = makers_rates(kind, dtype) if dtype == "bfloat16" else None
    return Ceilings(*rates, f"{kind}, as its maker says") if rates else None


def _of_budget(run: Run, timed: dict[str, Any]) -> dict[str, float]:
    """The budget of a variant like `regnetz:dWr_25ms`, and the measured share of it.

    Empty if the budget is for another device, batch size or type than the timed step.
    """
    measured = {"step_ms": "step_ms", "memory_bytes": "peak_bytes"}
    kinds = [kind for kind in run.budget if kind in measured]
    if not kinds:
        return {}
    from fastscale_jax.measure import fitted
    from fastscale_jax.measure.machine import describe

    model, images = fitted.find(), timed["batch_size"] / timed["devices"]
    if (describe()["device"], images, timed["dtype"]) != (
        model.device,
        model.batch_size,
        model.dtype,
    ):
        complain(
            f"the variant's budget is for a step of {model.batch_size} images in {model.dtype} on "
            f"{model.device}; the timed step differs, so it is not compared with the budget"
        )
        return {}
    (kind,) = kinds
    budget = run.budget[kind]
    return {"budget_" + kind: budget, "budget_share": timed[measured[kind]] / budget}
