"""`fastscale info`: a network's stages and costs."""

import json
from collections.abc import Sequence
from typing import Any

from fastscale_jax.arch import Architecture, count
from fastscale_jax.cli.described import describe, network_table, predicted, prediction_line
from fastscale_jax.cli.options import Config, OptionalPath, Output, Session, run_of
from fastscale_jax.runs.run import Run
from fastscale_jax.targets.target import Target
from fastscale_jax.train.batch import check_divides
from fastscale_jax.utils.console import OK, print_table

# names of the counters, repeated from `cost.counters` because importing that needs JAX
KNOWN = ("analytic", "jaxpr", "xla")


def info(
    config: Config = None,
    *,
    workdir: OptionalPath = None,
    target: str | None = None,
    counters: str = "analytic",
    parameters: bool = False,
    format: Output = "table",  # noqa: A002 # the flag has this name
    session: Session = Session(),
) -> int:
    """Shows a network's stages and costs. Returns the exit status.

    Args:
        config: a recipe.
        workdir: Folder of a run; without a recipe, its config.json is used.
        target: Device to compute the least possible step time for, by the roofline model, as in
            gpu:h100 or tpu:v5e:4x4. This machine need not have it.
        counters: Methods of counting, with commas between, shown side by side. analytic: from the
            architecture; jaxpr: from JAX's trace; xla: from the program given to XLA.
        parameters: Also list the parameters: names, shapes and sizes.
        format: json prints one object on stdout.
        session: see `Session`.
    """
    session.start()
    run = run_of(config, workdir)
    prediction = predicted(run)
    rows, figures = _counted(run.network, counters.split(","))
    least = _least(run, Target.parse(target)) if target else {}
    tensors = _parameters(run.network) if parameters else []
    if format == "json":
        rests_on = {"predicted": prediction} if prediction else {}
        of_all = {"parameters": tensors} if parameters else {}
        print(
            json.dumps(
                {**describe(run.network, run.scaling), **rests_on, **figures, **least, **of_all}
            )
        )
        return OK
    print_table(network_table(run.network, run.scaling))
    if prediction:
        print(prediction_line(prediction))
    if least:
        print(
            f"roofline of {least['target']}, {least['batch_size']:,} images in {least['dtype']}: "
            f"a training step takes at least {least['roofline_ms']:.4g} ms, "
            f"bound by {least['roofline_bound']}; inference takes at least "
            f"{least['inference_roofline_ms']:.4g} ms, bound by {least['inference_roofline_bound']}"
        )
    if rows:
        from fastscale_jax.cost import counters as counting

        print_table(counting.counters_table(rows))
    if parameters:
        from fastscale_jax.cost import parameters as listing

        print_table(listing.parameters_table(run.network))
    return OK


def _least(run: Run, target: Target) -> dict[str, Any]:
    """The roofline's least step and inference times on a target, in milliseconds.

    Raises:
        ValueError: the batch cannot be shared by the devices, or they have no such dtype.
    """
    from fastscale_jax.measure import roofline

    recipe = run.recipe
    check_divides(recipe, target.count)
    device, dtype = target.device, recipe.dtype
    ceilings = roofline.Ceilings(device.peak(dtype), device.bandwidth, device.name)
    images, itemsize = recipe.data.batch_size // target.count, 4 if dtype == "float32" else 2
    result: dict[str, Any] = {"target": target.name, "batch_size": recipe.data.batch_size}
    result["dtype"] = dtype
    for prefix, training in (("", True), ("inference_", False)):
        floor = roofline.floor(count(run.network), images, itemsize, ceilings, training=training)
        result[f"{prefix}roofline_ms"] = 1000 * floor.seconds
        result[f"{prefix}roofline_bound"] = floor.bound
    return result


def _parameters(network: Architecture) -> list[dict[str, Any]]:
    """The network's parameters, ready for JSON."""
    _use_the_cpu()
    from fastscale_jax.cost import parameters

    return parameters.rows(network)


def _use_the_cpu() -> None:
    """Makes JAX use the CPU only: counting needs no accelerator and must not wait for one."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def _counted(network: "Architecture", names: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Returns the counts, as table rows and for JSON. `analytic` alone needs no JAX.

    Raises:
        ValueError: unknown counter.
    """
    unknown = [name for name in names if name not in KNOWN]
    if unknown or not names:
        raise ValueError(
            f"--counters={','.join(names)}: give some of analytic, jaxpr and xla, with commas "
            "between"
        )
    if {*names} == {"analytic"}:
        return [], {}
    _use_the_cpu()
    from fastscale_jax.cost import counters

    rows, figures = counters.counted(network, names)
    return rows, {"counters": figures}
