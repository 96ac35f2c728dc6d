"""The initial weights of a network.

They are made from the list of the network's layers, without tracing the Flax module. Kernels and
biases of squeeze-and-excitation are drawn in loops, one loop for all arrays of about equal size, so
the compiled program hardly grows with the network. The values are those of Flax's `Network.init`.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random

from fastscale_jax.arch import Architecture, layers
from fastscale_jax.models.layers import CLASSIFIER_STD, bias_bound, kernel_std
from fastscale_jax.models.network import Network

_PADDING = 2**21  # values; drawing them takes about as long as compiling one more loop


class _Drawn(NamedTuple):
    """An array that is drawn at random."""

    name: str  # name of the layer
    shape: tuple[int, ...]
    scale: float  # multiplies the draws

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def initial_variables(model: Network, key: Array) -> dict[str, Any]:
    """Returns the initial `params` and `batch_stats`, float32.

    Args:
        model: the network.
        key: the random key; the values equal those of `model.init(key, …)` up to rounding.
    """
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    kernels = list(_kernels(model.architecture))
    for kernel in kernels:
        layer, width = _of_layer(variables["params"], kernel.name), kernel.shape[-1]
        if len(kernel.shape) == 2:
            layer["bias"] = jnp.zeros(width)
            continue
        layer["bn"] = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
        statistics = {"mean": jnp.zeros(width), "var": jnp.ones(width)}
        _of_layer(variables["batch_stats"], kernel.name)["bn"] = statistics
    # Flax numbers the arrays of a layer in the order of drawing: kernel 1, bias 2
    for kernel, values in _values(kernels, key, 1, random.normal):
        _of_layer(variables["params"], kernel.name)["kernel"] = values
    for bias, values in _values(list(_gate_biases(model.architecture)), key, 2, _uniform):
        _of_layer(variables["params"], bias.name)["bias"] = values
    return variables


def _values(
    arrays: list[_Drawn], key: Array, number: int, draw: Callable[[Array, tuple[int]], Array]
) -> Iterator[tuple[_Drawn, Array]]:
    """Yields arrays with their values; `number`: position of the array in its layer's draws."""
    for group in _of_about_equal_size(arrays):
        hashes = np.array([_hash(array.name, number) for array in group], np.uint32)
        keys = jax.vmap(random.fold_in, (None, 0))(key, hashes)
        length = group[0].size
        rows = lax.map(lambda key, length=length: draw(key, (length,)), keys)
        for array, row in zip(group, rows, strict=True):
            # the first values of a draw do not depend on its length
            yield array, array.scale * row[: array.size].reshape(array.shape)


def _uniform(key: Array, shape: tuple[int]) -> Array:
    return random.uniform(key, shape, minval=-1, maxval=1)


def _gate_biases(network: Architecture) -> Iterator[_Drawn]:
    """The biases of squeeze-and-excitation; the classifier's are 0."""
    for layer in layers(network):
        if not layer.kernel and layer.c_group and layer.name != "head.fc":
            yield _Drawn(layer.name, (layer.width,), bias_bound(layer.c_group))


def _kernels(network: Architecture) -> Iterator[_Drawn]:
    for layer in layers(network):
        if not layer.c_group:
            continue
        window = (layer.kernel, layer.kernel) if layer.kernel else ()
        is_classifier = layer.name == "head.fc"
        std = CLASSIFIER_STD if is_classifier else kernel_std(max(layer.kernel, 1), layer.width)
        yield _Drawn(layer.name, (*window, layer.c_group, layer.width), std)


def _of_about_equal_size(arrays: list[_Drawn]) -> Iterator[list[_Drawn]]:
    """Yields groups of arrays, largest first; draws of a group have its first array's size."""
    group, padding = [], 0
    for array in sorted(arrays, key=lambda array: -array.size):
        padding += group[0].size - array.size if group else 0
        if padding > _PADDING:
            yield group
            group, padding = [], 0
        group.append(array)
    if group:
        yield group


def _of_layer(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """The variables of a layer in a tree; adds an empty dict if there are none."""
    for part in name.split("."):
        tree = tree.setdefault(part, {})
    return tree


def _hash(name: str, number: int) -> int:
    """The number that Flax folds into the key for the `number`-th array that a layer draws."""
    words = b"".join(name.encode().split(b".")) + bytes([number])
    return int.from_bytes(hashlib.sha1(words, usedforsecurity=False).digest()[:4], "big")
