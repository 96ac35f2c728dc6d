"""The parts of a network that are not trained: `config.train.freeze`."""

import itertools
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict, unflatten_dict

from fastscale_jax.arch import Architecture
from fastscale_jax.distributed.sharding import Tree
from fastscale_jax.train.frozen_names import frozen_names
from fastscale_jax.train.state import Weights


class Frozen(NamedTuple):
    """The parts that are not trained.

    Gradients, optimiser state and average exist only for the trained part.
    """

    params: frozenset[str] = frozenset()  # dotted names, such as `s1.b1.a.kernel`
    norms: frozenset[str] = frozenset()  # layers with a frozen BatchNorm, such as `s1.b1.a`

    @classmethod
    def of(cls, network: Architecture, freeze: str) -> "Frozen":
        """Returns the parts that a config freezes.

        A BatchNorm and its running statistics are frozen if its scale and its bias are.

        Args:
            network: the trained network.
            freeze: as in `frozen_names`.

        Raises:
            ValueError: a pattern matches no parameter, or nothing is left to train.
        """
        params = frozen_names(network, freeze)
        norms = (name.removesuffix(".bn.scale") for name in params if name.endswith(".bn.scale"))
        return cls(params, frozenset(layer for layer in norms if f"{layer}.bn.bias" in params))

    def trained_params(self, params: Tree) -> Tree:
        """Returns the parameters that are trained; without frozen ones, `params` itself."""
        return _without(params, self.params)

    def trained_stats(self, batch_stats: Tree) -> Tree:
        """Returns the running statistics that training updates; there may be none."""
        names = itertools.product(self.norms, ("mean", "var"))
        return _without(batch_stats, {f"{layer}.bn.{moment}" for layer, moment in names})

    def trained(self, weights: Weights) -> Weights:
        """Returns the part of the weights that is trained."""
        return Weights(self.trained_params(weights.params), self.trained_stats(weights.batch_stats))


NOTHING_FROZEN = Frozen()


def _without(tree: Any, names: Any) -> Any:
    if not names:
        return tree
    flat = flatten_dict(tree, sep=".")
    return unflatten_dict({key: x for key, x in flat.items() if key not in names}, sep=".")
