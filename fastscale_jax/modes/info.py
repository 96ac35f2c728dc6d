"""--mode=info: what the network is and costs."""

import json
from collections.abc import Sequence
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.modes.common import (
    OK,
    Config,
    Options,
    checked,
    print_table,
    usage_error,
)

# counters, by the names in `measure.counters`, which needs JAX
KNOWN = ("analytic", "jaxpr", "xla")


def run(config: Config, options: Options) -> int:
    """Prints what the network is and costs."""
    from fastscale_jax.info import describe, origin, predicted, prediction_line, table

    try:
        network, _ = checked(config)
        scaling = origin(network, config.variant)
        prediction = predicted(network, scaling, config.variant)
        rows, figures = _counted(network, options.counters)
    except ValueError as error:
        return usage_error(str(error))
    if options.as_json:
        rests_on = {"predicted": prediction} if prediction else {}
        print(json.dumps({**describe(network, scaling), **rests_on, **figures}))
        return OK
    print_table(table(network, scaling))
    if prediction:
        print(prediction_line(prediction))
    if rows:
        from fastscale_jax.measure import counters

        print_table(counters.table(rows))
    return OK


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
    from fastscale_jax.measure import counters

    rows, figures = counters.counted(network, names)
    return rows, {"counters": figures}
