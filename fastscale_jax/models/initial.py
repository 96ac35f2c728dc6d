"""The weights that a network begins with.

They are drawn from the list of its layers, and the module is not traced. The kernels are drawn in
loops, a loop for those of about equal size, so that the compiled program hardly grows with the
network. The values are those of Flax's `Network.init`.
"""

import hashlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax, random

from fastscale_jax.arch import Architecture, layers
from fastscale_jax.models.layers import CLASSIFIER_STD, kernel_std
from fastscale_jax.models.network import Network

_PADDING = 2**21  # values; to draw them takes about as long as to compile another loop


class _Kernel(NamedTuple):
    name: str  # the layer's
    shape: tuple[int, ...]
    std: float

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def initial_variables(model: Network, key: Array) -> dict[str, Any]:
    """Returns `params` and `batch_stats` before training, float32; `key` decides them."""
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
    for group in _of_about_equal_size(kernels):
        hashes = np.array([_hash(kernel.name) for kernel in group], np.uint32)
        keys = jax.vmap(random.fold_in, (None, 0))(key, hashes)
        length = group[0].size
        rows = lax.map(lambda key, length=length: random.normal(key, (length,)), keys)
        for kernel, row in zip(group, rows, strict=True):
            # the first values of a draw do not depend on its length
            values = kernel.std * row[: kernel.size].reshape(kernel.shape)
            _of_layer(variables["params"], kernel.name)["kernel"] = values
    return variables


def _kernels(network: Architecture) -> Iterator[_Kernel]:
    for layer in layers(network):
        if not layer.c_group:
            continue
        window = (layer.kernel, layer.kernel) if layer.kernel else ()
        is_classifier = layer.name == "head.fc"
        std = CLASSIFIER_STD if is_classifier else kernel_std(max(layer.kernel, 1), layer.width)
        yield _Kernel(layer.name, (*window, layer.c_group, layer.width), std)


def _of_about_equal_size(kernels: list[_Kernel]) -> Iterator[list[_Kernel]]:
    """Yields groups, the largest kernel first; each group's are padded to its first's size."""
    group, padding = [], 0
    for kernel in sorted(kernels, key=lambda kernel: -kernel.size):
        padding += group[0].size - kernel.size if group else 0
        if padding > _PADDING:
            yield group
            group, padding = [], 0
        group.append(kernel)
    yield group


def _of_layer(tree: dict[str, Any], name: str) -> dict[str, Any]:
    """The part of a tree of variables that is of a layer; it is made if need be."""
    for part in name.split("."):
        tree = tree.setdefault(part, {})
    return tree


def _hash(name: str) -> int:
    """What Flax folds into the key for the first array that a layer draws."""
    words = b"".join(name.encode().split(b".")) + b"\1"
    return int.from_bytes(hashlib.sha1(words, usedforsecurity=False).digest()[:4], "big")
