"""What a training step holds in memory, and the largest batch that fits, without running either."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fastscale_jax import models
from fastscale_jax.arch import Architecture
from fastscale_jax.data.prefetch import AHEAD
from fastscale_jax.distributed.sharding import device_mesh
from fastscale_jax.measure.lowering import lower
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.utils.compiling import hasty

_FULL = 0.97  # of the limit: allocators round up, and a memory that is filled fragments
_NEAR_ENOUGH = 0.94  # of the limit, for the search to stop
_DIGITS = 5  # bits, of a batch in the search: what lies between is within 1/32


class Memory(NamedTuple):
    """Bytes of a compiled program on one device."""

    arguments: int  # of a step: the state, and the batch
    outputs: int
    temporaries: int
    aliases: int  # of the outputs, those that take the place of arguments

    @property
    def peak(self) -> int:
        """The most that it holds."""
        return self.arguments + self.outputs + self.temporaries - self.aliases

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "Memory":
        """Returns what XLA says of a program; all is 0 where the backend does not say."""
        found = compiled.memory_analysis()
        if found is None:
            return cls(0, 0, 0, 0)
        return cls(
            found.argument_size_in_bytes,
            found.output_size_in_bytes,
            found.temp_size_in_bytes,
            found.alias_size_in_bytes,
        )


class LargestBatch(NamedTuple):
    """The largest batch that fits."""

    images: int  # of all devices
    held: int  # bytes on a device, with the batches that wait there
    limit: int  # bytes
    compiled: int  # programs that it took


class NoRoomError(ValueError):
    """Not even the smallest batch fits."""


def step_memory(network: Architecture, recipe: Recipe, mesh: Mesh | None = None) -> Memory:
    """Returns what a training step holds on a device; compiles it, and makes no array.

    Args:
        network: to train.
        recipe: its batch is the one that is laid out.
        mesh: of devices to share it; None: all.
    """
    lowered = lower("step", network, recipe, mesh or device_mesh())
    return Memory.of(lowered.compile(compiler_options=hasty()))


def saved_for_backward(network: Architecture, recipe: Recipe) -> int:
    """Returns the bytes of an image that the forward pass leaves for the backward pass.

    They are what JAX hands from one to the other; XLA, which sees both, may keep less and compute
    it again.
    """
    model = models.build(
        network,
        dtype=recipe.dtype,
        grouped_conv=recipe.grouped_conv,
        scan_blocks=recipe.scan_blocks,
    )

    def left(images: int) -> int:
        side = network.resolution
        shown = jax.ShapeDtypeStruct((images, side, side, 3), jnp.dtype(recipe.dtype))
        key = jax.eval_shape(lambda: jax.random.key(0))
        variables = jax.eval_shape(functools.partial(model.init, train=False), key, shown)

        def forward(batch_stats: Any, images: Any, key: Any, params: Any) -> Any:
            return model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )[0]

        def backward(params: Any, *rest: Any) -> Any:
            return jax.vjp(functools.partial(forward, *rest), params)[1]

        found = jax.eval_shape(backward, variables["params"], variables["batch_stats"], shown, key)
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(found))

    # weights are among them, once whatever the batch is
    return left(2) - left(1)


def largest_batch(
    network: Architecture,
    recipe: Recipe,
    limit: int,
    *,
    most: int | None = None,
    mesh: Mesh | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> LargestBatch:
    """Returns the largest batch whose training step fits, found by compiling.

    Batches are multiples of what the devices and the recipe can share.

    Args:
        network: to train.
        recipe: its batch size is not looked at.
        limit: bytes of a device.
        most: images, more than which are not wanted.
        mesh: of devices to share the batch; None: all.
        tell: is told what each program holds.

    Raises:
        NoRoomError: the smallest batch that the devices can share does not fit.
        ValueError: the backend does not say what a program holds.
    """
    mesh = mesh or device_mesh()

    def held(images: int) -> float:
        of_step = peak(network, with_batch(recipe, images), mesh)
        return of_step + waiting_bytes(network, images, mesh.size)

    return largest_fitting(
        held,
        limit,
        unit=least_batch(recipe, mesh.size),
        most=most,
        name=network.name,
        tell=tell,
    )


def largest_fitting(
    held: Callable[[int], float],
    limit: int,
    *,
    unit: int,
    name: str,
    first: int | None = None,
    most: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> LargestBatch:
    """Returns the largest batch that fits, by asking what few of them hold.

    What a step holds grows with its batch nearly in a straight line, so that a few programs are
    enough. Batches are multiples of `unit`, in steps of 1/32 or less; the one that is returned was
    asked for.

    Args:
        held: takes a batch and returns the bytes of a device; infinite where it does not fit.
        limit: bytes of a device.
        unit: the smallest batch.
        name: of the network, for people.
        first: batch to ask for; None: four units.
        most: images, more than which are not wanted; None: no such number.
        tell: is told what each batch holds.

    Raises:
        NoRoomError: the smallest batch does not fit.
    """
    known: dict[int, float] = {}

    def asked(images: int) -> float:
        if images not in known:
            known[images] = held(images)
            tell(f"a batch of {images}: {known[images] / 1e9:.3g} GB of {limit / 1e9:.3g}")
        return known[images]

    room, ceiling = int(limit * _FULL), math.inf if most is None else max(most // unit, 1) * unit
    low, high = 0, math.inf
    following = min(_rounded(first or 4 * unit, unit), ceiling)
    while low < following < high:
        if asked(int(following)) <= room:
            low = int(following)
        else:
            high = following
        if low == ceiling or (low and known[low] >= _NEAR_ENOUGH * limit):
            break
        if not low:
            following = _rounded(int(following) // 2, unit)
            continue
        guess = min(_guess(known, int(0.995 * room)), ceiling)
        following = min(max(_rounded(int(guess), unit), _next(low, unit)), ceiling)
        if following >= high:  # and half-way, where nothing is known of that side
            finite = known[int(high)] < math.inf
            following = _rounded(int(high) - 1 if finite else (low + int(high)) // 2, unit)
    if not low:
        raise NoRoomError(
            f"not even the smallest batch, of {unit}, fits: {name} takes "
            f"{asked(unit) / 1e9:.3g} GB of {limit / 1e9:.3g}"
        )
    return LargestBatch(low, int(known[low]), limit, len(known))


def waiting_bytes(network: Architecture, images: int, devices: int) -> int:
    """Returns the bytes of the batches that wait on a device while a step runs.

    Args:
        network: whose images they are.
        images: of a batch, on all devices.
        devices: that share it.
    """
    return AHEAD * 3 * network.resolution**2 * images // devices


def least_batch(recipe: Recipe, devices: int) -> int:
    """Returns the smallest batch that devices, and what else the recipe asks for, can share."""
    return devices * recipe.optim.accumulate * max(recipe.bn.group_size, 1)


def with_batch(recipe: Recipe, images: int) -> Recipe:
    """Returns the recipe for another batch size."""
    data = dataclasses.replace(recipe.data, batch_size=images)
    return dataclasses.replace(recipe, data=data)


def peak(network: Architecture, recipe: Recipe, mesh: Mesh) -> float:
    """Returns what a step holds; infinite where the compiler itself finds that it does not fit.

    Raises:
        ValueError: the backend does not say.
    """
    try:
        held = step_memory(network, recipe, mesh).peak
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return math.inf
    if not held:
        raise ValueError(
            f"{mesh.devices.flat[0].device_kind} does not say what a program holds, so that a "
            "batch has to be given as a number"
        )
    return held


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of JAX's says that a device's memory is too small."""
    return "RESOURCE_EXHAUSTED" in str(error)


def _guess(known: dict[int, float], room: int) -> float:
    """The batch that fills the room, on the line through the two that are nearest to it."""
    finite = {images: held for images, held in known.items() if held < math.inf}
    (first, a), *others = sorted(finite.items(), key=lambda x: abs(x[1] - room))
    if not others:  # part of it is the state's, so that in proportion the batch is none too large
        return max(2 * first, first * room / a)
    second, b = others[0]
    slope = (b - a) / (second - first)
    return first + (room - a) / slope if slope > 0 else 2 * max(first, second)


def _rounded(images: int, unit: int) -> int:
    """Down to a number of units that has few binary digits."""
    units = images // unit
    step = 1 << max(0, units.bit_length() - 1 - _DIGITS)
    return units // step * step * unit


def _next(images: int, unit: int) -> int:
    units = images // unit
    return (units + (1 << max(0, units.bit_length() - 1 - _DIGITS))) * unit
