"""--mode=info: what the network is and costs."""

import json
from collections.abc import Sequence
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.cli.common import OK, Config, Options, checked, print_table, usage_error
from fastscale_jax.targets.target import Target
from fastscale_jax.train.batch import check_divides
from fastscale_jax.train.recipe import Recipe

# counters, by the names in `cost.counters`, which needs JAX
KNOWN = ("analytic", "jaxpr", "xla")


def run(config: Config, options: Options) -> int:
    """Prints what the network is and costs."""
    from fastscale_jax.cli.described import describe, origin, predicted, prediction_line, table

    try:
        network, recipe = checked(config)
        scaling = origin(network, config.variant)
        prediction = predicted(network, scaling, config.variant)
        rows, figures = _counted(network, options.counters)
        least = _least(network, recipe, Target.parse(options.target)) if options.target else {}
    except ValueError as error:
        return usage_error(str(error))
    if options.as_json:
        rests_on = {"predicted": prediction} if prediction else {}
        print(json.dumps({**describe(network, scaling), **rests_on, **figures, **least}))
        return OK
    print_table(table(network, scaling))
    if prediction:
        print(prediction_line(prediction))
    if least:
        print(
            f"on {least['target']}, {least['batch_size']:,} images in {least['dtype']}, by the "
            f"roofline's arithmetic: a training step takes {least['roofline_ms']:.4g} ms at least, "
            f"bound by {least['roofline_bound']}; inference "
            f"{least['inference_roofline_ms']:.4g} ms, by {least['inference_roofline_bound']}"
        )
    if rows:
        from fastscale_jax.cost import counters

        print_table(counters.table(rows))
    return OK


def _least(network: Architecture, recipe: Recipe, target: Target) -> dict[str, Any]:
    """The least time on a target by arithmetic, as --mode=time has it of the device here.

    Raises:
        ValueError: the batch cannot be shared by the devices, or they have no such dtype.
    """
    from fastscale_jax.arch import count
    from fastscale_jax.measure import roofline

    check_divides(recipe, target.count)
    device, dtype = target.device, recipe.dtype
    ceilings = roofline.Ceilings(device.peak(dtype), device.bandwidth, device.name)
    images, itemsize = recipe.data.batch_size // target.count, 4 if dtype == "float32" else 2
    result: dict[str, Any] = {"target": target.name, "batch_size": recipe.data.batch_size}
    result["dtype"] = dtype
    for prefix, training in (("", True), ("inference_", False)):
        floor = roofline.floor(count(network), images, itemsize, ceilings, training=training)
        result[f"{prefix}roofline_ms"] = 1000 * floor.seconds
        result[f"{prefix}roofline_bound"] = floor.bound
    return result


def _counted(network: "Architecture", names: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Returns what counters say, as rows of a table and for JSON; the first alone needs no JAX.

    Raises:
        ValueError: there is no such counter.
    """
    unknown = [name for name in names if name not in KNOWN]
    if unknown or not names:
        raise ValueError(
            f"--counters={','.join(names)}: give some of analytic, jaxpr and xla, with commas "
            "between"
        )
    if {*names} == {"analytic"}:
        return [], {}
    import jax

    jax.config.update("jax_platforms", "cpu")  # counting needs no accelerator, nor waits for one
    from fastscale_jax.cost import counters

    rows, figures = counters.counted(network, names)
    return rows, {"counters": figures}
