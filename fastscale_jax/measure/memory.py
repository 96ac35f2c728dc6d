"""The memory of a training step, and the largest batch that fits, by compiling only."""

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
from fastscale_jax.utils.usage import is_out_of_memory

_FULL = 0.97  # share of the limit to fill: allocators round up, and full memory gets fragmented
_NEAR_ENOUGH = 0.94  # share of the limit at which the search stops
_DIGITS = 5  # leading bits of a batch size that the search varies: steps of at most 1/32


class Memory(NamedTuple):
    """Bytes of a compiled program on one device."""

    arguments: int  # for a step: the state and the batch
    outputs: int
    temporaries: int
    aliases: int  # outputs aliased to arguments

    @property
    def peak(self) -> int:
        """The program's peak memory in bytes."""
        return self.arguments + self.outputs + self.temporaries - self.aliases

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "Memory":
        """Returns XLA's memory analysis of a program; all are 0 if the backend has none."""
        sizes = compiled.memory_analysis()
        if sizes is None:
            return cls(0, 0, 0, 0)
        return cls(
            sizes.argument_size_in_bytes,
            sizes.output_size_in_bytes,
            sizes.temp_size_in_bytes,
            sizes.alias_size_in_bytes,
        )


class LargestBatch(NamedTuple):
    """The largest batch that fits."""

    images: int  # on all devices together
    held: int  # bytes per device, with the prefetched batches
    limit: int  # bytes per device
    compiled: int  # number of programs that the search compiled


class NoRoomError(ValueError):
    """Not even the smallest batch fits."""


def step_memory(network: Architecture, recipe: Recipe, mesh: Mesh | None = None) -> Memory:
    """Returns the memory of a training step on a device; compiles the step, but makes no array.

    Args:
        network: network to train.
        recipe: recipe with the step's batch size.
        mesh: mesh of devices that share the batch; None: all devices.
    """
    lowered = lower("step", network, recipe, mesh or device_mesh())
    return Memory.of(lowered.compile(compiler_options=hasty()))


def saved_for_backward(network: Architecture, recipe: Recipe, platform: str = "") -> int:
    """Returns the bytes per image that the forward pass saves for the backward pass.

    These are JAX's residuals. XLA compiles both passes together and may recompute some of them.
    `platform` is as `models.build` takes it.
    """
    model = models.build(
        network,
        dtype=recipe.dtype,
        grouped_conv=recipe.grouped_conv,
        scan_blocks=recipe.scan_blocks,
        remat=recipe.remat,
        platform=platform,
    )

    def left(images: int) -> int:
        image_shapes = jax.ShapeDtypeStruct((images, *network.input_shape), jnp.dtype(recipe.dtype))
        key = jax.eval_shape(lambda: jax.random.key(0))
        variables = jax.eval_shape(functools.partial(model.init, train=False), key, image_shapes)

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

        residuals = jax.eval_shape(
            backward, variables["params"], variables["batch_stats"], image_shapes, key
        )
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(residuals))

    # a difference, because the weights count once for any batch size
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

    Batch sizes are multiples of `least_batch`.

    Args:
        network: network to train.
        recipe: its batch size is ignored.
        limit: bytes per device.
        most: largest batch to consider; None: no such limit.
        mesh: mesh of devices that share the batch; None: all devices.
        tell: called with a line on the memory of each program.

    Raises:
        NoRoomError: the smallest batch that the devices can share does not fit.
        ValueError: the backend does not report a program's memory.
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
    """Returns the largest batch that fits, from the memory of a few batch sizes.

    A step's memory grows almost linearly with its batch, so a few programs are enough. Batch sizes
    are multiples of `unit`, in steps of 1/32 or less. The result is a batch size that was tried.

    Args:
        held: batch size -> bytes per device; infinite if it does not fit.
        limit: bytes per device.
        unit: the smallest batch.
        name: the network's name, for messages.
        first: first batch size to try; None: four units.
        most: largest batch to consider; None: no such limit.
        tell: called with a line on the memory of each batch.

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
        if following >= high:  # halve the distance if the memory at `high` is unknown
            finite = known[int(high)] < math.inf
            following = _rounded(int(high) - 1 if finite else (low + int(high)) // 2, unit)
    if not low:
        raise NoRoomError(
            f"not even the smallest batch, of {unit}, fits: {name} takes "
            f"{asked(unit) / 1e9:.3g} GB of {limit / 1e9:.3g}"
        )
    return LargestBatch(low, int(known[low]), limit, len(known))


def waiting_bytes(network: Architecture, images: int, devices: int) -> int:
    """Returns the bytes of the prefetched batches on one device.

    Args:
        network: its resolution is the size of the images.
        images: batch size on all devices together.
        devices: number of devices.
    """
    return AHEAD * 3 * network.resolution**2 * images // devices


def least_batch(recipe: Recipe, devices: int) -> int:
    """Returns the smallest batch that devices, accumulation and BatchNorm groups divide evenly."""
    return devices * recipe.optim.accumulate * max(recipe.bn.group_size, 1)


def with_batch(recipe: Recipe, images: int) -> Recipe:
    """Returns the recipe for another batch size."""
    data = dataclasses.replace(recipe.data, batch_size=images)
    return dataclasses.replace(recipe, data=data)


def peak(network: Architecture, recipe: Recipe, mesh: Mesh) -> float:
    """Returns a step's peak memory in bytes; infinite if it does not compile for lack of memory.

    Raises:
        ValueError: the backend does not report a program's memory.
    """
    try:
        held = step_memory(network, recipe, mesh).peak
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return math.inf
    if not held:
        raise ValueError(
            f"{mesh.devices.flat[0].device_kind} does not report a program's memory, so the batch "
            "must be a number"
        )
    return held


def _guess(known: dict[int, float], room: int) -> float:
    """The batch that would fill the room, on the line through the two nearest known batches."""
    finite = {images: held for images, held in known.items() if held < math.inf}
    (first, a), *others = sorted(finite.items(), key=lambda x: abs(x[1] - room))
    if not others:  # safe: memory grows less than in proportion, because the state is constant
        return max(2 * first, first * room / a)
    second, b = others[0]
    slope = (b - a) / (second - first)
    return first + (room - a) / slope if slope > 0 else 2 * max(first, second)


def _rounded(images: int, unit: int) -> int:
    """Rounds down to a number of units with few significant bits."""
    units = images // unit
    step = 1 << max(0, units.bit_length() - 1 - _DIGITS)
    return units // step * step * unit


def _next(images: int, unit: int) -> int:
    units = images // unit
    return (units + (1 << max(0, units.bit_length() - 1 - _DIGITS))) * unit
