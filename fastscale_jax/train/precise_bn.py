"""Recomputes BatchNorm statistics from many images before an evaluation.

Running statistics come from the last few batches, during which the network changed; those of the
averaged model belong to no single network. The paper also recomputes them (arXiv:2103.06877,
section 6.1; arXiv:2105.07576, section 3).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import NamedSharding

from fastscale_jax.data.pipeline import Batch
from fastscale_jax.distributed.sharding import (
    AXIS,
    ON_ALL,
    SHARED_OUT,
    on_each_device,
    own,
    replicated,
    shared_out,
)
from fastscale_jax.models.computation import image_keys
from fastscale_jax.models.layers import NEW_SHARE
from fastscale_jax.train.programs import program
from fastscale_jax.train.state import Tree, Weights
from fastscale_jax.train.step import Task, training_images

_NO_STEP = 2**32 - 1  # folded into the key; training steps fold in their number instead


class PreciseStatistics:
    """Computes the statistics of networks of one task; compiles once."""

    def __init__(self, task: Task, images: int) -> None:
        """Takes the arguments that are the same for all calls.

        Args:
            task: has the network, its frozen parts and the augmentation.
            images: number of images for the statistics; rounded up to whole batches.
        """
        self._batches, self._mesh = math.ceil(images / task.recipe.data.batch_size), task.mesh
        self._frozen = task.frozen
        self._of_batch = program(batch_statistics, task, NamedSharding(task.mesh, ON_ALL))

    def __call__(
        self,
        models: Sequence[Weights],
        batches: Iterable[Batch],
        key: Array,
        tick: Callable[[], object] = lambda: None,
    ) -> list[Weights]:
        """Returns the same weights, all with statistics from the same training images.

        Statistics of a frozen BatchNorm are kept; if all are frozen, no images are read.

        Args:
            models: weights of networks, on all devices.
            batches: training images, this host's share; only as many as needed are read.
            key: the run's key; each batch gets its own key, different from those of training steps.
            tick: called after each batch.
        """
        if not jax.tree.leaves([self._frozen.trained_stats(x.batch_stats) for x in models]):
            return list(models)
        parts: list[list[Tree]] = [[] for _ in models]
        key = jax.random.fold_in(key, _NO_STEP)
        for number, batch in enumerate(itertools.islice(batches, self._batches)):
            batch_key, batch = jax.random.fold_in(key, number), shared_out(batch, self._mesh)
            for model, statistics in zip(models, parts, strict=True):
                statistics.append(self._of_batch(model, batch, batch_key))
            tick()
        return [
            model.overlaid(
                {"params": {}, "batch_stats": replicated(over_all(statistics), self._mesh)}
            )
            for model, statistics in zip(models, parts, strict=True)
        ]


def batch_statistics(task: Task, weights: Weights, batch: Batch, key: Array) -> Tree:
    """Returns the mean and variance of each BatchNorm's input over groups of a batch.

    Args:
        task: has the network and the augmentation; images are not mixed.
        weights: the network's weights.
        batch: training images.
        key: key of augmentation and dropout.

    Returns:
        Statistics `[groups, …]`, with the structure of the unfrozen part of `batch_stats`. A group
        is a device's batch, or `bn.group_size` images.
    """
    of_device = on_each_device(
        functools.partial(_of_device, task),
        task.mesh,
        specs=(ON_ALL, SHARED_OUT, ON_ALL),
        out=SHARED_OUT,
    )
    return of_device(weights, batch, key)


def _of_device(task: Task, weights: Weights, batch: Batch, key: Array) -> Tree:
    augment_key, dropout_key = jax.random.split(key)
    images, bn = len(batch.labels), task.recipe.bn
    pixels = training_images(task, batch, image_keys(augment_key, images, AXIS))
    groups = pixels.reshape(-1, bn.group_size or images, *pixels.shape[1:])
    if bn.sync:  # devices compute one group together
        keys, axis = dropout_key[None], AXIS
    else:
        keys, axis = image_keys(dropout_key, len(groups), AXIS), ""
    computation = dataclasses.replace(task.model.computation, bn_group_size=0, axis=axis)
    task = task._replace(model=task.model.clone(computation=computation))
    of_group = functools.partial(_of_group, task, own(weights))
    if len(groups) == 1:
        return jax.tree.map(lambda x: x[None], of_group(groups[0], keys[0]))
    return lax.map(lambda group: of_group(*group), (groups, keys))


def _of_group(task: Task, weights: Weights, pixels: Array, key: Array) -> Tree:
    empty = jax.tree.map(jnp.zeros_like, task.frozen.trained_stats(weights.batch_stats))
    begin = weights.overlaid({"params": {}, "batch_stats": empty})
    _, updated = task.model.apply(
        {"params": begin.params, "batch_stats": begin.batch_stats},
        pixels,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key},
    )
    # running statistics that start at 0 become NEW_SHARE times the batch's
    moved = task.frozen.trained_stats(updated["batch_stats"])
    return jax.tree.map(lambda x: x / NEW_SHARE, own(moved))


def over_all(parts: Iterable[Tree]) -> Tree:
    """Returns the statistics over all images of several batches, as numpy arrays.

    The variance is the mean of the groups' variances plus the variance of their means; the paper's
    code omits the second term.

    Args:
        parts: one per batch, as from `batch_statistics`; all groups have the same size.
    """
    return _over_all(jax.device_get(list(parts)))


def _over_all(parts: list[Any]) -> Any:
    first = parts[0]
    if not {"mean", "var"} <= first.keys():
        return {key: _over_all([part[key] for part in parts]) for key in first}
    means, variances = (np.concatenate([part[k] for part in parts]) for k in ("mean", "var"))
    mean = means.mean(0, dtype=np.float64)
    var = variances.mean(0, dtype=np.float64) + means.var(0, dtype=np.float64)
    return {"mean": mean.astype(np.float32), "var": var.astype(np.float32)}
