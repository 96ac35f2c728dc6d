"""All that a run changes."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from fastscale_jax.train.loss_scale import LossScale

Tree = Any  # of arrays


class Weights(struct.PyTreeNode):
    """What a network computes with."""

    params: Tree
    batch_stats: Tree  # BatchNorm's running statistics

    def overlaid(self, variables: Mapping[str, Any]) -> "Weights":
        """Returns other weights; what is left out of `variables` stays as it is.

        Args:
            variables: `params` and `batch_stats`.
        """
        return Weights(
            _overlaid(self.params, variables["params"]),
            _overlaid(self.batch_stats, variables["batch_stats"]),
        )


class TrainState(struct.PyTreeNode):
    """All that a run changes, and all that a checkpoint holds."""

    step: Array  # int32, updates done
    params: Tree
    batch_stats: Tree
    opt_state: optax.OptState
    average: Weights | None = None  # the averaged model; None: none is kept
    loss_scale: LossScale | None = None  # None: the computation is not in float16

    @property
    def weights(self) -> Weights:
        """The model's."""
        return Weights(self.params, self.batch_stats)

    def with_weights(self, weights: Weights) -> "TrainState":
        """Returns the state with other weights for the model; the average stays as it is."""
        return self.replace(params=weights.params, batch_stats=weights.batch_stats)


def _overlaid(tree: Tree, over: Tree) -> Tree:
    if not isinstance(tree, Mapping):
        return jnp.asarray(over, tree.dtype)
    return {key: _overlaid(x, over[key]) if key in over else x for key, x in tree.items()}
