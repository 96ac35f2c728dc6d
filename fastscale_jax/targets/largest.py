"""Finds the largest batch whose training step fits a target, by compiling."""

import math
from collections.abc import Callable

from fastscale_jax.arch import Architecture
from fastscale_jax.measure.memory import (
    LargestBatch,
    NoRoomError,
    largest_fitting,
    least_batch,
    waiting_bytes,
    with_batch,
)
from fastscale_jax.targets import kernels
from fastscale_jax.targets.compiler import TIMEOUT_SECONDS, FailedError, compiled
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.train.recipe import Recipe

# On a TPU, XLA puts the batch along the 128 lanes, or else along the 8 sublanes, and pads it.
_TPU_UNITS = (128, 8, 1)
_WORTH_A_NOTE = 0.02  # least saving for a note, as a share of the bytes per image

Tell = Callable[[str], None]


def step_bytes(
    program: Program,
    *,
    store: Store | None,
    timeout: float = TIMEOUT_SECONDS,
    tell: Tell = lambda line: None,
) -> float:
    """Returns a program's peak memory per device in bytes; infinite if it does not fit.

    Raises:
        FailedError: the compiler fails for another reason.
        ValueError: the target's compiler is not installed.
    """
    outcome = compiled(program, store=store, timeout=timeout, tell=tell)
    if outcome.failure == "out of memory":
        return math.inf
    if outcome.peak_bytes is None:
        raise FailedError(program, outcome)
    return outcome.peak_bytes


def largest_batch(
    network: Architecture,
    recipe: Recipe,
    target: Target,
    limit: int,
    *,
    most: int | None = None,
    until: str = "end",
    store: Store | None = None,
    timeout: float = TIMEOUT_SECONDS,
    tell: Tell = lambda line: None,
) -> LargestBatch:
    """Returns the largest batch (over all devices) that fits on each device of a target.

    On TPUs it is a multiple of 128 images per chip, which fill the lanes, if 128 fit. Programs are
    compiled up to the layout, which decides a GPU program's memory.

    Args:
        network: network to train.
        recipe: its batch size is ignored.
        target: target to train on.
        limit: bytes per device.
        most: largest batch to consider; None: no such limit.
        until: `end`: a TPU's program is also compiled to the end, and the batch is reduced if it
            does not fit; `layout`: the real memory may be a few percent larger.
        store: cache of outcomes.
        timeout: most seconds for each compilation.
        tell: called with a line on the memory of each program.

    Raises:
        NoRoomError: the smallest batch that the devices can share does not fit.
        FailedError: the compiler fails.
        ValueError: the target's compiler is not installed.
    """
    least = least_batch(recipe, target.count)

    def held(images: int, until: str = "layout") -> float:
        program = Program(network, with_batch(recipe, images), target, until=until)
        of_step = step_bytes(program, store=store, timeout=timeout, tell=tell)
        return of_step + waiting_bytes(network, images, target.count)

    is_rough = until == "end" and target.device.platform == "tpu"
    for unit in _units(target, least):
        options = {"unit": unit, "first": max(target.usual[0], unit), "name": network.name}
        try:
            largest = largest_fitting(held, limit, **options, most=most, tell=tell)
            images, size = largest.images, held(largest.images, "end") if is_rough else largest.held
            while size > limit:
                images = min(int(images * limit / size), images - 1) // unit * unit
                if not images:
                    raise NoRoomError(f"{network.name}: not even a batch of {unit} fits")
                size = held(images, "end")
            return largest._replace(images=images, held=int(size))
        except NoRoomError:
            if unit == least:
                raise
            tell(f"not even {unit // target.count} images per device fit; trying fewer")
    raise AssertionError("the last unit is the least batch")


def _units(target: Target, least: int) -> list[int]:
    """Units for batch sizes, from the best to the least that the devices can share."""
    if target.device.platform != "tpu":
        return [least]
    return sorted({math.lcm(n * target.count, least) for n in _TPU_UNITS}, reverse=True)


def better_batch(
    network: Architecture,
    recipe: Recipe,
    target: Target,
    limit: int,
    *,
    store: Store | None = None,
    tell: Tell = lambda line: None,
) -> str:
    """Returns a note if 128 images per chip fit and move fewer bytes per image; else empty.

    Args:
        network: network to train.
        recipe: recipe with the batch size to compare with.
        target: for other targets than TPUs the note is empty.
        limit: bytes per device.
        store: cache of outcomes.
        tell: called with the compiler's stage.
    """
    lanes, images = _TPU_UNITS[0], recipe.data.batch_size // target.count
    if target.device.platform != "tpu" or images == lanes:
        return ""
    moved = {}
    for batch in (images, lanes):
        of = with_batch(recipe, batch * target.count)
        outcome = compiled(Program(network, of, target, until="layout"), store=store, tell=tell)
        if outcome.peak_bytes is None or outcome.peak_bytes > limit:
            return ""
        moved[batch] = kernels.count(outcome.text).bytes / batch
    share = 1 - moved[lanes] / moved[images]
    if share < _WORTH_A_NOTE:
        return ""
    return (
        f"{lanes} images per chip would move {share:.0%} fewer bytes per image than {images}, "
        "because they fill the lanes and need no copies between layouts"
    )
