"""BatchNorm statistics taken anew from many images, before an evaluation.

The running statistics are those of the last few batches, of a network that changed meanwhile, and
the averaged model's belong to no network at all. So do the paper's authors
(arXiv:2103.06877, section 6.1; arXiv:2105.07576, section 3).
"""

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fastscale_jax.data.pipeline import Batch
from fastscale_jax.models.layers import NEW_SHARE
from fastscale_jax.train.state import Tree, Weights
from fastscale_jax.train.step import Task, training_images

_NO_STEP = 2**32 - 1  # keys of training have the number of their step folded in


class PreciseStatistics:
    """Takes the statistics of networks of one task; compiles once."""

    def __init__(self, task: Task, images: int) -> None:
        """Takes what stays the same.

        Args:
            task: the network, and how images are augmented.
            images: to take them from; rounded up to whole batches.
        """
        self._batches = math.ceil(images / task.recipe.data.batch_size)
        self._of_batch = jax.jit(functools.partial(batch_statistics, task))

    def __call__(
        self, models: Sequence[Weights], batches: Iterable[Batch], key: Array
    ) -> list[Weights]:
        """Returns the same weights, each with the statistics of the same training images.

        Args:
            models: weights of the network.
            batches: of training images; as many are taken as are needed.
            key: of a run; each batch has its own, and none of a training step's.
        """
        parts: list[list[Tree]] = [[] for _ in models]
        key = jax.random.fold_in(key, _NO_STEP)
        for number, batch in enumerate(itertools.islice(batches, self._batches)):
            batch_key = jax.random.fold_in(key, number)
            for model, found in zip(models, parts, strict=True):
                empty = jax.tree.map(jnp.zeros_like, model.batch_stats)
                found.append(self._of_batch(model.params, empty, batch, batch_key))
        return [Weights(m.params, over_all(p)) for m, p in zip(models, parts, strict=True)]


def batch_statistics(task: Task, params: Tree, empty: Tree, batch: Batch, key: Array) -> Tree:
    """Returns the mean and variance of each BatchNorm's input over one batch.

    Args:
        task: the network, and how images are augmented; they are not mixed.
        params: of the network.
        empty: zeros of the shape of `batch_stats`.
        batch: of training images.
        key: of augmentation and dropout.

    Returns:
        As `batch_stats`.
    """
    augment_key, dropout_key = jax.random.split(key)
    _, updated = task.model.apply(
        {"params": params, "batch_stats": empty},
        training_images(task, batch, augment_key),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": dropout_key},
    )
    # running statistics that begin with nothing hold a known share of the batch's
    return jax.tree.map(lambda x: x / NEW_SHARE, updated["batch_stats"])


def over_all(parts: Iterable[Tree]) -> Tree:
    """Returns the statistics of all images of some batches, each of the same number of images.

    The variance of all is the mean of the batches' variances and the variance of their means; the
    paper's code leaves the second out.

    Args:
        parts: of each batch, as `batch_statistics` returns them.
    """
    return _over_all(jax.device_get(list(parts)))


def _over_all(parts: list[Any]) -> Any:
    first = parts[0]
    if not {"mean", "var"} <= first.keys():
        return {key: _over_all([part[key] for part in parts]) for key in first}
    means, variances = (np.stack([part[k] for part in parts]) for k in ("mean", "var"))
    mean = means.mean(0, dtype=np.float64)
    var = variances.mean(0, dtype=np.float64) + means.var(0, dtype=np.float64)
    return {"mean": jnp.asarray(mean, jnp.float32), "var": jnp.asarray(var, jnp.float32)}
