"""--mode=memory: what a training step holds, and the largest batch that fits."""

import json
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from fastscale_jax.arch import Architecture, count
from fastscale_jax.cluster import joins_others
from fastscale_jax.measure import memory
from fastscale_jax.modes.auto_batch import memory_limit
from fastscale_jax.modes.common import (
    OK,
    Config,
    Options,
    checked,
    complain,
    print_table,
    usage_error,
)
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.train.run import check_divides

if TYPE_CHECKING:
    from rich.table import Table


def run(config: Config, options: Options) -> int:
    """Prints what a training step holds on a device, and the largest batch that fits."""
    if joins_others():
        return usage_error("--mode=memory is for one process; start it with --distributed=no")
    try:
        found = held(*checked(config), gigabytes=options.memory_gb)
    except ValueError as error:
        return usage_error(str(error))
    if options.as_json:
        print(json.dumps(found))
    else:
        print_table(table(found))
    return OK


def held(network: Architecture, recipe: Recipe, *, gigabytes: float | None) -> dict[str, Any]:
    """Returns the bytes of a training step on each device, by name, ready for JSON.

    Args:
        network: to train.
        recipe: its batch is laid out; 0: the largest that fits.
        gigabytes: of a device, to find the largest batch for; None: what it has.

    Raises:
        ValueError: the batch cannot be shared by the devices, or not even the smallest fits.
    """
    if recipe.data.batch_size:
        check_divides(recipe, jax.device_count())
    limit = memory_limit(gigabytes)
    largest = memory.largest_batch(network, recipe, limit, tell=complain)
    if not recipe.data.batch_size:
        recipe = memory.with_batch(recipe, largest.images)
    step = memory.step_memory(network, recipe)
    images = recipe.data.batch_size // jax.device_count()
    itemsize = jnp.dtype(recipe.dtype).itemsize
    return {
        "network": network.name,
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "batch_size": recipe.data.batch_size,
        "dtype": recipe.dtype,
        **{f"{name}_bytes": amount for name, amount in step._asdict().items()},
        "peak_bytes": step.peak,
        "saved_for_backward_bytes": images * memory.saved_for_backward(network, recipe),
        "activation_bytes": images * itemsize * count(network).acts,
        "limit_bytes": limit,
        "largest_batch_size": largest.images,
        "largest_batch_bytes": largest.held,
    }


def table(found: dict[str, Any]) -> "Table":
    """Returns the figures of `held` for people."""
    from rich.table import Table

    several = f"{found['devices']} x " if found["devices"] > 1 else ""
    result = Table(
        title=(
            f"{found['network']}: a training step on {several}{found['device']}, "
            f"{found['batch_size']} images, {found['dtype']}"
        ),
        caption=(
            f"the largest batch that fits {found['limit_bytes'] / 1e9:,.4g} GB: "
            f"{found['largest_batch_size']:,} images, {found['largest_batch_bytes'] / 1e9:,.4g} GB"
        ),
    )
    result.add_column("of a device")
    result.add_column("GB", justify="right")
    rows = {
        "arguments: state and batch": "arguments_bytes",
        "outputs": "outputs_bytes",
        "of these in the arguments' place": "aliases_bytes",
        "temporaries": "temporaries_bytes",
        "at most": "peak_bytes",
        "activations": "activation_bytes",
        "what JAX keeps for the backward pass": "saved_for_backward_bytes",
    }
    for name, key in rows.items():
        result.add_row(name, f"{found[key] / 1e9:,.3f}", end_section=key == "peak_bytes")
    return result
