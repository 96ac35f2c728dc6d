"""One training step and one evaluation step, as pure functions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.typing import ArrayLike

from fastscale_jax.data.augment import prepare
from fastscale_jax.data.pipeline import Batch
from fastscale_jax.data.sources import Conventions, Source
from fastscale_jax.models import Network
from fastscale_jax.train.recipe import Recipe

Params = Any  # a tree of arrays


class TrainState(struct.PyTreeNode):
    """All that a run changes, and all that a checkpoint holds."""

    step: Array  # int32, updates done
    params: Params
    batch_stats: Params  # BatchNorm's running statistics
    opt_state: optax.OptState


class Metrics(NamedTuple):
    """Sums over images, so that batches can be added up."""

    loss: Array
    top1_errors: Array
    top5_errors: Array
    images: Array


class Task(NamedTuple):
    """What a step needs to know beside its data. Nothing in it changes during a run."""

    model: Network
    recipe: Recipe
    optimizer: optax.GradientTransformation
    conventions: Conventions

    @classmethod
    def of(
        cls,
        model: Network,
        recipe: Recipe,
        optimizer: optax.GradientTransformation,
        source: Source,
    ) -> "Task":
        """Returns the task of training `model` on `source`."""
        return cls(model, recipe, optimizer, source.conventions)


def create_state(task: Task, key: Array) -> TrainState:
    """Returns the state before the first step; `key` decides the initial weights."""
    resolution = task.model.architecture.resolution
    images = jnp.zeros((1, resolution, resolution, 3))
    variables = task.model.init(key, images, train=False)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=task.optimizer.init(params),
    )


def with_weights(state: TrainState, variables: Mapping[str, Any]) -> TrainState:
    """Returns the state with other weights.

    Args:
        state: not modified.
        variables: `params` and `batch_stats`; what is left out of them stays as it is.
    """
    return state.replace(
        params=_overlaid(state.params, variables["params"]),
        batch_stats=_overlaid(state.batch_stats, variables["batch_stats"]),
    )


def _overlaid(tree: Params, over: Params) -> Params:
    if not isinstance(tree, Mapping):
        return jnp.asarray(over, tree.dtype)
    return {key: _overlaid(x, over[key]) if key in over else x for key, x in tree.items()}


def train_step(
    task: Task, state: TrainState, batch: Batch, key: Array
) -> tuple[TrainState, Metrics]:
    """One SGD update.

    Args:
        task: what to train, and how.
        state: before the update.
        batch: `images` are `[batch, h, w, 3]` uint8, of any size.
        key: of the run; the step is folded in here.

    Returns:
        The state after the update, and the batch's metrics before it.
    """
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
    augment = task.recipe.augment
    images = _images(task, batch, augment_key)

    def loss_fn(params: Params) -> tuple[Array, tuple[Array, Array, Params]]:
        logits, updated = task.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        losses = cross_entropy(logits, batch.labels, augment.label_smoothing)
        return losses.mean(), (losses, logits, updated["batch_stats"])

    grads, (losses, logits, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = task.optimizer.update(grads, state.opt_state, state.params)
    state = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    return state, _metrics(losses, logits, batch)


def eval_step(task: Task, state: TrainState, batch: Batch) -> Metrics:
    """Returns the metrics of a batch with the running statistics; the loss is not smoothed."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = jnp.asarray(task.model.apply(variables, _images(task, batch), train=False))
    return _metrics(cross_entropy(logits, batch.labels, 0.0), logits, batch)


def cross_entropy(logits: Array, labels: ArrayLike, smoothing: float) -> Array:
    """Returns the loss of each image.

    Args:
        logits: `[batch, num_classes]`.
        labels: `[batch]` ints.
        smoothing: ε; the target is 1 - ε + ε/K for the label and ε/K for each other of K classes.
    """
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, smoothing))


def _images(task: Task, batch: Batch, key: Array | None = None) -> Array:
    return prepare(
        batch.images,
        resolution=task.model.architecture.resolution,
        mean=task.conventions.mean,
        std=task.conventions.std,
        key=key,
        shift=task.recipe.augment.shift,
        zoom=task.recipe.augment.zoom,
    )


def _metrics(losses: Array, logits: Array, batch: Batch) -> Metrics:
    """Sums over the images that are not padding; an image is right at k if under k classes beat it.

    Ties count against the network, and so does NaN, so that one that says nothing is not called
    right.
    """
    right = jnp.take_along_axis(logits, batch.labels[:, None], axis=-1)
    better = (~(logits < right)).sum(-1) - 1
    mask = batch.mask
    return Metrics(
        loss=jnp.where(mask, losses, 0).sum(),
        top1_errors=(mask & (better >= 1)).sum(),
        top5_errors=(mask & (better >= 5)).sum(),
        images=mask.sum(),
    )
