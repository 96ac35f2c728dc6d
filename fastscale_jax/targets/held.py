"""The memory of a training step and the largest batch, on attached devices or a target."""

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from fastscale_jax.arch import Architecture, count
from fastscale_jax.measure import memory
from fastscale_jax.measure.memory import LargestBatch, Memory
from fastscale_jax.measure.memory_limit import memory_limit
from fastscale_jax.targets import largest as on_target
from fastscale_jax.targets.compiler import FailedError, Tell, compiled
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.train.batch import check_divides
from fastscale_jax.train.recipe import Recipe

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 78  # columns of a table with a long title, so that it is not folded further


def held(
    network: Architecture,
    recipe: Recipe,
    *,
    gigabytes: float | None,
    target: Target | None = None,
    store: Store | None = None,
    tell: Tell = lambda line: None,
) -> dict[str, Any]:
    """Returns the bytes of a training step on each device, by name, ready for JSON.

    Args:
        network: network to train.
        recipe: recipe with the step's batch size; 0: the largest that fits.
        gigabytes: memory per device for the largest batch; None: the device's own.
        target: target to compile for; None: the attached devices.
        store: cache of outcomes for targets.
        tell: called with a line on the memory of each program.

    Raises:
        ValueError: the devices cannot share the batch evenly, not even the smallest batch fits, or
            the target's compiler is not installed.
        FailedError: the target's compiler fails.
    """
    devices = target.count if target else jax.device_count()
    if recipe.data.batch_size:
        check_divides(recipe, devices)
    step_memory = (
        _on(target, network, recipe, gigabytes, store, tell)
        if target
        else _on_local_devices(network, recipe, gigabytes, tell)
    )
    recipe, largest, step = step_memory.recipe, step_memory.largest, step_memory.step
    images = recipe.data.batch_size // devices
    itemsize = jnp.dtype(recipe.dtype).itemsize
    platform = target.device.platform if target else ""
    saved = memory.saved_for_backward(network, recipe, platform)
    return {
        "network": network.name,
        "target": target.name if target else None,
        "device": target.device.name if target else jax.devices()[0].device_kind,
        "devices": devices,
        "batch_size": recipe.data.batch_size,
        "dtype": recipe.dtype,
        "fits": step is not None and step.peak <= largest.limit,
        **{f"{name}_bytes": getattr(step, name, None) for name in Memory._fields},
        "peak_bytes": None if step is None else step.peak,
        "saved_for_backward_bytes": images * saved,
        "activation_bytes": images * itemsize * count(network).acts,
        "limit_bytes": largest.limit,
        "largest_batch_size": largest.images,
        "largest_batch_bytes": largest.held,
        **({"note": step_memory.note} if step_memory.note else {}),
    }


class _StepMemory(NamedTuple):
    """The recipe with its batch size, the largest batch, and the step's memory."""

    recipe: Recipe
    largest: LargestBatch
    step: Memory | None  # None: it does not fit
    note: str = ""


def _on_local_devices(
    network: Architecture, recipe: Recipe, gigabytes: float | None, tell: Tell
) -> _StepMemory:
    largest = memory.largest_batch(network, recipe, memory_limit(gigabytes), tell=tell)
    if not recipe.data.batch_size:
        recipe = memory.with_batch(recipe, largest.images)
    return _StepMemory(recipe, largest, memory.step_memory(network, recipe))


def _on(
    target: Target,
    network: Architecture,
    recipe: Recipe,
    gigabytes: float | None,
    store: Store | None,
    tell: Tell,
) -> _StepMemory:
    limit = int(gigabytes * 1e9) if gigabytes else target.usable_bytes
    largest = on_target.largest_batch(network, recipe, target, limit, store=store, tell=tell)
    if not recipe.data.batch_size:
        recipe = memory.with_batch(recipe, largest.images)
    program = Program(network, recipe, target)
    outcome = compiled(program, store=store, tell=tell)
    if outcome.failure == "out of memory":
        return _StepMemory(recipe, largest, None, outcome.reason)
    if outcome.memory is None:
        raise FailedError(program, outcome)
    note = on_target.better_batch(network, recipe, target, limit, store=store, tell=tell)
    return _StepMemory(recipe, largest, Memory(**outcome.memory), note)


def memory_table(figures: dict[str, Any]) -> "Table":
    """Returns the result of `held` as a table for the terminal."""
    from rich.table import Table

    several = f"{figures['devices']} x " if figures["devices"] > 1 else ""
    title = (
        f"{figures['network']}: a training step on {several}{figures['device']}, "
        f"{figures['batch_size']:,} images, {figures['dtype']}"
        + ("" if figures["fits"] else ": does not fit")
    )
    fits = (
        f"the largest batch that fits {figures['limit_bytes'] / 1e9:,.4g} GB: "
        f"{figures['largest_batch_size']:,} images, "
        f"{figures['largest_batch_bytes'] / 1e9:,.4g} GB"
    )
    result = Table(
        title=title,
        caption="\n".join([fits, figures["note"]] if "note" in figures else [fits]),
        min_width=min(max(len(title), len(fits)), _WIDTH),
    )
    peak = figures["peak_bytes"]
    unit, of_unit = (1e6, "MB") if peak is not None and peak < 1e9 else (1e9, "GB")
    result.add_column("memory per device")
    result.add_column(of_unit, justify="right")
    rows = {
        "arguments: state and batch": "arguments_bytes",
        "outputs": "outputs_bytes",
        "outputs aliased to arguments": "aliases_bytes",
        "temporaries": "temporaries_bytes",
        "peak": "peak_bytes",
        "activations": "activation_bytes",
        "saved for the backward pass by JAX": "saved_for_backward_bytes",
    }
    for name, key in rows.items():
        amount = "does not fit" if figures[key] is None else f"{figures[key] / unit:,.3f}"
        result.add_row(name, amount, end_section=key == "peak_bytes")
    return result
