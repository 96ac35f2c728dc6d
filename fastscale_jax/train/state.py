"""All that a run changes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh, NamedSharding

from fastscale_jax.distributed.sharding import ON_ALL, Tree, along_a_dimension
from fastscale_jax.train.loss_scale import LossScale


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


def shardings(state: TrainState, mesh: Mesh, shards_optimizer: bool) -> Any:
    """Returns how the arrays of a state lie on devices: a tree of shardings like it.

    Args:
        state: of the run, or its shapes.
        mesh: of the run's devices.
        shards_optimizer: momentum and average are shared out, each along the first dimension that
            can be; gradients are summed on all devices none the less.
    """
    everywhere = jax.tree.map(lambda _: NamedSharding(mesh, ON_ALL), state)
    if not shards_optimizer:
        return everywhere
    return everywhere.replace(
        opt_state=along_a_dimension(state.opt_state, mesh),
        average=along_a_dimension(state.average, mesh),
    )


def _overlaid(tree: Tree, over: Tree) -> Tree:
    if not isinstance(tree, Mapping):
        return jnp.asarray(over, tree.dtype)
    return {key: _overlaid(x, over[key]) if key in over else x for key, x in tree.items()}
