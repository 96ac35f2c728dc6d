"""Gradients of the mean loss of a batch: at once or in parts, in full precision or in half."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from fastscale_jax.convs.grouped_conv import varying_alike
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
    outputs: Outputs


# of parameters, batch_stats, examples and a key: the mean loss, and what else there is
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
) -> Found:
    """Returns the gradients of a batch's mean loss.

    Args:
        loss: of a batch or a part of one.
        params: to differentiate by.
        batch_stats: before the batch; each part moves them on.
        examples: the batch.
        key: for dropout; each part has its own.
        parts: that the batch is computed in, one after the other, each with a `parts`-th of the
            memory for activations. BatchNorm's statistics are each part's own. They divide the
            batch.
        scale: what the loss is multiplied by while it is differentiated, lest small gradients
            vanish in float16; None: nothing.
    """

    def of_part(batch_stats: Tree, examples: Examples, key: Array) -> Found:
        def scaled(params: Tree) -> tuple[Array, tuple[Outputs, Tree]]:
            value, rest = loss(params, batch_stats, examples, key)
            return value if scale is None else scale * value, rest

        found, (outputs, moved) = jax.grad(scaled, has_aux=True)(params)
        if scale is not None:
            found = jax.tree.map(lambda x: x / scale, found)
        return Found(found, moved, outputs)

    if parts == 1:
        return of_part(batch_stats, examples, key)

    def add(found: tuple[Tree, Tree], part: tuple[Examples, Array]) -> tuple[tuple, Outputs]:
        total, batch_stats = found
        new = of_part(batch_stats, *part)
        total = jax.tree.map(lambda x, y: x + y / parts, total, new.gradients)
        return (total, new.batch_stats), new.outputs

    in_parts = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), examples)
    nothing = jax.tree.map(lambda x: varying_alike(jnp.zeros_like(x), x)[0], params)
    found, outputs = lax.scan(add, (nothing, batch_stats), (in_parts, jax.random.split(key, parts)))
    return Found(*found, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs))
