"""A network for inference, layer by layer, as calls of another framework's operators.

BatchNorm is folded into the conv before it, and dense layers are 1x1 convs: what is left are nine
operators, which a framework says how to write.
"""

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from fastscale_jax.arch import Architecture, BlockShape, ConvSizes

T = TypeVar("T")  # what a framework has for an array that is not computed yet


class Conv(NamedTuple):
    """A conv with a bias, as a framework is to write it."""

    name: str
    kernel: np.ndarray  # `[k, k, c_in/groups, c_out]`
    bias: np.ndarray  # `[c_out]`
    stride: int = 1
    groups: int = 1
    padding: str = "symmetric"  # as `convs.grouped_conv` takes it


class Operators(Protocol[T]):
    """The operators of a framework; arrays are those of the layer before."""

    def conv(self, x: T, conv: Conv) -> T:
        """A conv."""
        ...

    def relu(self, x: T) -> T:
        """The larger of x and 0."""
        ...

    def relu6(self, x: T) -> T:
        """The same, and at most 6."""
        ...

    def sigmoid(self, x: T) -> T:
        """The logistic function."""
        ...

    def multiply(self, x: T, y: T) -> T:
        """The product; `y` may have a single pixel."""
        ...

    def add(self, x: T, y: T) -> T:
        """The sum."""
        ...

    def max_pool(self, x: T, padding: str) -> T:
        """The largest of 3×3 pixels, with stride 2; what is padded is never the largest."""
        ...

    def mean_pool(self, x: T) -> T:
        """The mean of 2×2 pixels, with stride 2; at an odd edge, of the pixels that there are."""
        ...

    def mean(self, x: T) -> T:
        """The mean over all pixels, which leaves one."""
        ...


def output_of(network: Architecture) -> tuple[str, int]:
    """Returns the name and the width of what a network computes: logits, or the pooled vector."""
    if network.num_classes:
        return "logits", network.num_classes
    return "vector", network.vector_width


def outputs(
    network: Architecture, variables: Mapping[str, Any], operators: Operators[T], images: T
) -> T:
    """Returns what `output_of` names, for images, of one pixel: `[batch, 1, 1, width]`.

    Args:
        network: to compute.
        variables: `{"params": …, "batch_stats": …}` of arrays; not modified.
        operators: of the framework.
        images: normalised, in the layout that the operators have.
    """
    return _Walk(network, variables, operators).outputs(images)


class _Walk(Generic[T]):
    def __init__(
        self, network: Architecture, variables: Mapping[str, Any], operators: Operators[T]
    ) -> None:
        self.network, self.variables, self.operators = network, variables, operators

    def outputs(self, x: T) -> T:
        a = self.network
        for sizes in a.stem_convs:
            x = self.conv(x, "stem", sizes)
        if a.pools:
            x = self.operators.max_pool(x, a.padding)
        for name, shape in a.blocks():
            x = self.block(name, shape, x)
        if a.head_width:
            x = self.conv(x, "head", ConvSizes("conv", 1, a.stages[-1].width, a.head_width))
        elif a.final_activation:
            x = self.activation(x)
        x = self.operators.mean(x)
        return self.dense(x, "head.fc") if a.num_classes else x

    def block(self, name: str, shape: BlockShape, x: T) -> T:
        skip, s = x, shape
        if s.has_projection:
            skip = self.conv(self.operators.mean_pool(x) if s.pools_skip else x, name, s.projection)
        for sizes in s.convs:
            x = self.conv(x, name, sizes)
            if sizes.name == s.excited:
                x = self.excited(x, name)
        if s.has_skip:
            x = self.operators.add(x, skip)
        return self.activation(x) if s.is_activated else x

    def excited(self, x: T, block: str) -> T:
        """Squeeze-and-excitation."""
        inner = self.dense(self.operators.mean(x), f"{block}.se.reduce")
        inner = self.activation(inner, self.network.activation_in_se)
        gate = self.operators.sigmoid(self.dense(inner, f"{block}.se.expand"))
        return self.operators.multiply(x, gate)

    def activation(self, x: T, kind: str = "") -> T:
        kind = kind or self.network.activation
        if kind in ("relu", "relu6"):
            return getattr(self.operators, kind)(x)
        return self.operators.multiply(x, self.operators.sigmoid(x))

    def conv(self, x: T, part: str, sizes: ConvSizes) -> T:
        """A conv of a block, stem or head, its BatchNorm, and the activation."""
        path = f"{part}.{sizes.name}"
        scale, bias = (self.leaf("params", f"{path}.bn.{leaf}") for leaf in ("scale", "bias"))
        mean, var = (self.leaf("batch_stats", f"{path}.bn.{leaf}") for leaf in ("mean", "var"))
        scale = scale / np.sqrt(var + self.network.bn_eps)
        kernel = self.leaf("params", f"{path}.kernel") * scale
        bias, padding = bias - mean * scale, self.network.padding
        conv = Conv(path, kernel, bias, sizes.stride, sizes.groups, padding)
        x = self.operators.conv(x, conv)
        return self.activation(x) if sizes.is_activated else x

    def dense(self, x: T, path: str) -> T:
        kernel, bias = (self.leaf("params", f"{path}.{leaf}") for leaf in ("kernel", "bias"))
        return self.operators.conv(x, Conv(path, kernel[None, None], bias))

    def leaf(self, collection: str, path: str) -> np.ndarray:
        """An array of the variables, in float64, by a path like `s1.b1.a.kernel`."""
        node: Any = self.variables[collection]
        for key in path.split("."):
            node = node[key]
        return np.asarray(node, np.float64)
