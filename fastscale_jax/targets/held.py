"""What a training step holds, here or on a target, and the largest batch that fits."""

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
        network: to train.
        recipe: its batch is laid out; 0: the largest that fits.
        gigabytes: of a device, to find the largest batch for; None: what it has.
        target: devices that need not be here; None: those that are.
        store: of programs compiled for a target.
        tell: is told what each program holds.

    Raises:
        ValueError: the batch cannot be shared by the devices, not even the smallest fits, or the
            target's compiler is not installed.
        FailedError: the target's compiler fails.
    """
    devices = target.count if target else jax.device_count()
    if recipe.data.batch_size:
        check_divides(recipe, devices)
    found = (
        _on(target, network, recipe, gigabytes, store, tell)
        if target
        else _here(network, recipe, gigabytes, tell)
    )
    recipe, largest, step = found.recipe, found.largest, found.step
    images = recipe.data.batch_size // devices
    itemsize = jnp.dtype(recipe.dtype).itemsize
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
        "saved_for_backward_bytes": images * memory.saved_for_backward(network, recipe),
        "activation_bytes": images * itemsize * count(network).acts,
        "limit_bytes": largest.limit,
        "largest_batch_size": largest.images,
        "largest_batch_bytes": largest.held,
        **({"note": found.note} if found.note else {}),
    }


class _Found(NamedTuple):
    """What devices hold: the recipe with its batch, the largest batch, and a step's memory."""

    recipe: Recipe
    largest: LargestBatch
    step: Memory | None  # None: the compiler finds no room for it
    note: str = ""


def _here(network: Architecture, recipe: Recipe, gigabytes: float | None, tell: Tell) -> _Found:
    largest = memory.largest_batch(network, recipe, memory_limit(gigabytes), tell=tell)
    if not recipe.data.batch_size:
        recipe = memory.with_batch(recipe, largest.images)
    return _Found(recipe, largest, memory.step_memory(network, recipe))


def _on(
    target: Target,
    network: Architecture,
    recipe: Recipe,
    gigabytes: float | None,
    store: Store | None,
    tell: Tell,
) -> _Found:
    limit = int(gigabytes * 1e9) if gigabytes else target.usable_bytes
    largest = on_target.largest_batch(network, recipe, target, limit, store=store, tell=tell)
    if not recipe.data.batch_size:
        recipe = memory.with_batch(recipe, largest.images)
    program = Program(network, recipe, target)
    outcome = compiled(program, store=store, tell=tell)
    if outcome.failure == "out of memory":
        return _Found(recipe, largest, None, outcome.reason)
    if outcome.memory is None:
        raise FailedError(program, outcome)
    note = on_target.better_batch(network, recipe, target, limit, store=store, tell=tell)
    return _Found(recipe, largest, Memory(**outcome.memory), note)


def table(found: dict[str, Any]) -> "Table":
    """Returns the figures of `held` for people."""
    from rich.table import Table

    several = f"{found['devices']} x " if found["devices"] > 1 else ""
    result = Table(
        title=(
            f"{found['network']}: a training step on {several}{found['device']}, "
            f"{found['batch_size']:,} images, {found['dtype']}"
            + ("" if found["fits"] else ": does not fit")
        ),
        caption=(
            f"the largest batch that fits {found['limit_bytes'] / 1e9:,.4g} GB: "
            f"{found['largest_batch_size']:,} images, {found['largest_batch_bytes'] / 1e9:,.4g} GB"
            + (f"\n{found['note']}" if "note" in found else "")
        ),
    )
    result.add_column("of a device")
    result.add_column("GB", justify="right")
    rows = {
        "arguments: state and batch": "arguments_bytes",
        "outputs": "outputs_bytes",
        "outputs aliased to arguments": "aliases_bytes",
        "temporaries": "temporaries_bytes",
        "at most": "peak_bytes",
        "activations": "activation_bytes",
        "what JAX keeps for the backward pass": "saved_for_backward_bytes",
    }
    for name, key in rows.items():
        amount = "does not fit" if found[key] is None else f"{found[key] / 1e9:,.3f}"
        result.add_row(name, amount, end_section=key == "peak_bytes")
    return result
