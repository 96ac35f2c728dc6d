"""Gradients of the mean loss of a batch: at once or in parts, in full precision or in half."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.training.dynamic_scale import DynamicScale
from jax import Array, lax

from fastscale_jax.train.state import Tree


class Examples(NamedTuple):
    """What the network is shown in a step."""

    images: Array  # [batch, h, w, 3], normalised
    targets: Array  # [batch, num_classes], each summing to 1


class Outputs(NamedTuple):
    """What the network makes of it, image by image."""

    losses: Array  # [batch]
    logits: Array  # [batch, num_classes]


class Found(NamedTuple):
    """Gradients, and what else their computation tells."""

    gradients: Tree  # as the parameters
    batch_stats: Tree
    loss_scale: DynamicScale | None
    is_finite: Array  # bool: the gradients can be used
    outputs: Outputs


# of parameters, batch_stats, examples and a key: the mean loss, and what else there is
LossFunction = Callable[[Tree, Tree, Examples, Array], tuple[Array, tuple[Outputs, Tree]]]


def gradients(
    loss: LossFunction,
    params: Tree,
    batch_stats: Tree,
    loss_scale: DynamicScale | None,
    examples: Examples,
    key: Array,
    parts: int = 1,
) -> Found:
    """Returns the gradients of a batch's mean loss.

    Args:
        loss: of a batch or a part of one.
        params: to differentiate by.
        batch_stats: before the batch; each part moves them on.
        loss_scale: what the loss is multiplied by, lest small gradients vanish in float16; it
            falls when they overflow, and rises again (arXiv:1710.03740). None: nothing.
        examples: the batch.
        key: for dropout; each part has its own.
        parts: that the batch is computed in, one after the other, each with a `parts`-th of the
            memory for activations. BatchNorm's statistics are each part's own. They divide the
            batch.
    """
    if parts == 1:
        return _of_part(loss, params, batch_stats, loss_scale, examples, key)

    def add(found: tuple[Tree, ...], part: tuple[Examples, Array]) -> tuple[tuple, Outputs]:
        total, batch_stats, loss_scale, is_finite = found
        new = _of_part(loss, params, batch_stats, loss_scale, *part)
        total = jax.tree.map(lambda x, y: x + y / parts, total, new.gradients)
        return (total, new.batch_stats, new.loss_scale, is_finite & new.is_finite), new.outputs

    in_parts = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), examples)
    nothing = (jax.tree.map(jnp.zeros_like, params), batch_stats, loss_scale, jnp.array(True))
    found, outputs = lax.scan(add, nothing, (in_parts, jax.random.split(key, parts)))
    return Found(*found, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs))


def _of_part(
    loss: LossFunction,
    params: Tree,
    batch_stats: Tree,
    loss_scale: DynamicScale | None,
    examples: Examples,
    key: Array,
) -> Found:
    def of(params: Tree) -> tuple[Array, tuple[Outputs, Tree]]:
        return loss(params, batch_stats, examples, key)

    if loss_scale is None:
        found, (outputs, batch_stats) = jax.grad(of, has_aux=True)(params)
        return Found(found, batch_stats, None, jnp.array(True), outputs)
    result = loss_scale.value_and_grad(of, has_aux=True)(params)
    outputs, batch_stats = result.aux[1]
    return Found(result.grad, batch_stats, result.dynamic_scale, result.finite, outputs)
