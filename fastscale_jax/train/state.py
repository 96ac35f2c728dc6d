"""The state of a training run."""

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
    """A network's parameters and running statistics."""

    params: Tree
    batch_stats: Tree  # BatchNorm's running statistics

    def overlaid(self, variables: Mapping[str, Any]) -> "Weights":
        """Returns weights with some values replaced; those missing in `variables` are kept.

        Args:
            variables: has `params` and `batch_stats`, trees that may lack entries.
        """
        return Weights(
            _overlaid(self.params, variables["params"]),
            _overlaid(self.batch_stats, variables["batch_stats"]),
        )


class TrainState(struct.PyTreeNode):
    """Everything that a run changes and a checkpoint holds."""

    step: Array  # int32, number of updates done
    params: Tree
    batch_stats: Tree
    opt_state: optax.OptState
    average: Weights | None = None  # the averaged model; None: there is none
    loss_scale: LossScale | None = None  # None unless the dtype is float16

    @property
    def weights(self) -> Weights:
        """The model's weights."""
        return Weights(self.params, self.batch_stats)

    def with_weights(self, weights: Weights) -> "TrainState":
        """Returns the state with other weights of the model; the average is kept."""
        return self.replace(params=weights.params, batch_stats=weights.batch_stats)


def shardings(state: TrainState, mesh: Mesh, shards_optimizer: bool) -> Any:
    """Returns the shardings of a state's arrays, as a tree of the same structure.

    Args:
        state: the run's state, or its shapes.
        mesh: the run's devices.
        shards_optimizer: whether optimiser state and average are sharded, each array along the
            first dimension that the devices divide. Gradients are still summed on all devices.
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
