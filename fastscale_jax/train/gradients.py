"""Gradients of a batch's mean loss, with optional accumulation over parts and loss scaling."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from fastscale_jax.train.state import Tree
from fastscale_jax.utils.varying import varying_alike


class Examples(NamedTuple):
    """Inputs and targets of a step."""

    images: Array  # [batch, h, w, 3], normalised
    targets: Array  # [batch, num_classes], each summing to 1


class Outputs(NamedTuple):
    """Losses and logits of each image."""

    losses: Array  # [batch]
    logits: Array  # [batch, num_classes]


class BatchGradients(NamedTuple):
    """Gradients of a batch, with the new running statistics and the outputs."""

    gradients: Tree  # structure of the parameters
    batch_stats: Tree
    outputs: Outputs


# (params, batch_stats, examples, key) -> (mean loss, (outputs, new batch_stats))
LossFunction = Callable[[Tree, Tree, Examples, Array], tuple[Array, tuple[Outputs, Tree]]]


def gradients(
    loss: LossFunction,
    params: Tree,
    batch_stats: Tree,
    examples: Examples,
    key: Array,
    *,
    parts: int = 1,
    scale: Array | None = None,
) -> BatchGradients:
    """Returns the gradients of a batch's mean loss.

    Args:
        loss: loss function of a batch, or of a part of one.
        params: the parameters to differentiate by.
        batch_stats: before the batch; each part updates them.
        examples: the batch.
        key: key of dropout; each part gets its own.
        parts: number of equal parts of the batch, computed one after the other; must divide the
            batch. Activations take 1/parts of the memory. BatchNorm's statistics are per part.
        scale: factor of the loss during differentiation, so that small gradients do not vanish in
            float16; None: 1.
    """

    def of_part(batch_stats: Tree, examples: Examples, key: Array) -> BatchGradients:
        def scaled(params: Tree) -> tuple[Array, tuple[Outputs, Tree]]:
            value, rest = loss(params, batch_stats, examples, key)
            return value if scale is None else scale * value, rest

        part_gradients, (outputs, moved) = jax.grad(scaled, has_aux=True)(params)
        if scale is not None:
            part_gradients = jax.tree.map(lambda x: x / scale, part_gradients)
        return BatchGradients(part_gradients, moved, outputs)

    if parts == 1:
        return of_part(batch_stats, examples, key)

    def add(carry: tuple[Tree, Tree], part: tuple[Examples, Array]) -> tuple[tuple, Outputs]:
        total, batch_stats = carry
        new = of_part(batch_stats, *part)
        total = jax.tree.map(lambda x, y: x + y / parts, total, new.gradients)
        return (total, new.batch_stats), new.outputs

    in_parts = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), examples)
    zeros = jax.tree.map(lambda x: varying_alike(jnp.zeros_like(x), x)[0], params)
    totals, outputs = lax.scan(add, (zeros, batch_stats), (in_parts, jax.random.split(key, parts)))
    return BatchGradients(*totals, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs))
