"""--mode=time: how long a step takes here."""

import json
from typing import Any

import jax

from fastscale_jax.arch.device_model import find
from fastscale_jax.arch.zoo import budget_of
from fastscale_jax.cli.auto_batch import with_batch_size
from fastscale_jax.cli.common import (
    FAILURE,
    OK,
    Config,
    Options,
    checked,
    complain,
    out_of_memory,
    print_table,
    usage_error,
)
from fastscale_jax.cli.described import origin
from fastscale_jax.distributed.cluster import joins_others
from fastscale_jax.measure import earlier
from fastscale_jax.measure import step_times as report
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.memory import is_out_of_memory
from fastscale_jax.measure.roofline import Ceilings
from fastscale_jax.measure.timing import NoisyError
from fastscale_jax.targets.devices import makers_rates


def run(config: Config, options: Options) -> int:
    """Prints how long a training step and an evaluation take here."""
    if joins_others():
        return usage_error(
            "--mode=time is for one process, on all devices that it has; start it by itself, or "
            "with --distributed=no"
        )
    try:
        config = with_batch_size(config, gigabytes=options.memory_gb)
        network, recipe = checked(config)
        found = report.timed(
            network,
            recipe,
            noise=options.noise,
            profile=options.profile,
            known=_published(recipe.dtype),
        )
        before = earlier.exchange(earlier.key(network, recipe), found, earlier.default_path())
        if before is not None and (why := earlier.explained(found, before)):
            complain(why)
        if origin(network, config.variant) is not None:  # as the variant has it
            found |= _of_budget(config.variant, found)
    except NoisyError as error:
        complain(str(error))
        return FAILURE
    except OSError as error:
        return usage_error(f"--profile={options.profile} cannot be written: {error.strerror}")
    except ValueError as error:
        return usage_error(str(error))
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return out_of_memory(config)
    if options.as_json:
        print(json.dumps(found))
    else:
        print_table(report.table(found))
    return OK


def _published(dtype: str) -> Ceilings | None:
    """What the maker says of the devices here, in bfloat16; None: nothing, or another dtype.

    What a device does in float32 depends on the precision that is asked for.
    """
    kind = jax.local_devices()[0].device_kind
    rates = makers_rates(kind, dtype) if dtype == "bfloat16" else None
    return Ceilings(*rates, f"{kind}, as its maker says") if rates else None


def _of_budget(variant: str, found: dict[str, Any]) -> dict[str, float]:
    """What a variant like `regnetz:dWr_25ms` was to take, and which share of that it does.

    Nothing, where the budget is of another device, batch or type than what was timed.
    """
    budget = budget_of(variant.partition(":")[2])
    measured = {"step_ms": "step_ms", "memory_bytes": "peak_bytes"}
    kinds = [kind for kind in budget if kind in measured]
    if not kinds:
        return {}
    model, timed = find(), found["batch_size"] / found["devices"]
    if (describe()["device"], timed, found["dtype"]) != (
        model.device,
        model.batch_size,
        model.dtype,
    ):
        complain(
            f"the variant's budget is of a step of {model.batch_size} images in {model.dtype} on "
            f"{model.device}; what was timed is no such step, and is not compared with it"
        )
        return {}
    (kind,) = kinds
    return {"budget_" + kind: budget[kind], "budget_share": found[measured[kind]] / budget[kind]}
