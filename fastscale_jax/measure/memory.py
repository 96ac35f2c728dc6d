"""The memory of a training step, and the largest batch that fits, found without running a step."""

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

    arguments: int  # of a step: the state, and the batch
    outputs: int
    temporaries: int
    aliases: int  # outputs that share the memory of arguments

    @property
    def peak(self) -> int:
        """The most bytes that it holds at a time."""
        return self.arguments + self.outputs + self.temporaries - self.aliases

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "Memory":
        """Returns XLA's figures of a program; all are 0 if the backend has none."""
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

    images: int  # of all devices
    held: int  # bytes on a device, with the batches that wait there
    limit: int  # bytes
    compiled: int  # programs that the search compiled


class NoRoomError(ValueError):
    """Not even the smallest batch fits."""


def step_memory(network: Architecture, recipe: Recipe, mesh: Mesh | None = None) -> Memory:
    """Returns the memory of a training step on a device; compiles the step, but makes no array.

    Args:
        network: to train.
        recipe: with the batch size of the step.
        mesh: of devices to share the batch; None: all.
    """
    lowered = lower("step", network, recipe, mesh or device_mesh())
    return Memory.of(lowered.compile(compiler_options=hasty()))


def saved_for_backward(network: Architecture, recipe: Recipe, platform: str = "") -> int:
    """Returns the bytes per image that the forward pass saves for the backward pass.

    That is what JAX passes between them; XLA, which compiles both, may save less and recompute it.
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
        shown = jax.ShapeDtypeStruct((images, *network.input_shape), jnp.dtype(recipe.dtype))
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

        residuals = jax.eval_shape(
            backward, variables["params"], variables["batch_stats"], shown, key
        )
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(residuals))

    # the difference, because the weights count once for any batch size
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
        recipe: its batch size is ignored.
        limit: bytes of a device.
        most: the largest batch to consider; None: there is no such limit.
        mesh: of devices to share the batch; None: all.
        tell: called with a line on the memory of each program.

    Raises:
        NoRoomError: the smallest batch that the devices can share does not fit.
        ValueError: the backend does not report the memory of a program.
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
    """Returns the largest batch that fits, from the memory of a few batches.

    The memory of a step grows almost linearly with its batch, so that a few programs are enough.
    Batches are multiples of `unit`, in steps of 1/32 or less; the result is one whose memory is
    known.

    Args:
        held: takes a batch size and returns the bytes of a device; infinite if it does not fit.
        limit: bytes of a device.
        unit: the smallest batch.
        name: of the network, for messages.
        first: the batch to begin with; None: four units.
        most: the largest batch to consider; None: there is no such limit.
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
    """Returns the bytes of the batches that wait on a device while a step runs.

    Args:
        network: which sets the size of the images.
        images: of a batch, on all devices.
        devices: that share the batch.
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
    """Returns the bytes that a step holds; infinite if the compiler says that it does not fit.

    Raises:
        ValueError: the backend does not report it.
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


def _guess(known: dict[int, float], room: int) -> float:
    """The batch that would fill the room, on the line through the two nearest known batches."""
    finite = {images: held for images, held in known.items() if held < math.inf}
    (first, a), *others = sorted(finite.items(), key=lambda x: abs(x[1] - room))
    if not others:  # a batch in proportion is not too large, because the state's part is constant
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
