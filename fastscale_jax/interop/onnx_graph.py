"""The network of an `Architecture` as an ONNX model. Needs the extra `onnx`.

It is written rather than converted: docs/log.md has what converters make of it.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]
from onnx import (  # pyright: ignore[reportMissingImports]
    TensorProto,
    helper,
    numpy_helper,
)

from fastscale_jax.arch import Architecture
from fastscale_jax.interop import folded
from fastscale_jax.interop.weights import WeightsError

# of 2022: what any runtime in use reads
_OPSET, _IR_VERSION = 17, 8
_MOST_BYTES = 2**31 - 2**20  # a protobuf's, less its graph


def onnx_model(
    network: Architecture,
    variables: Mapping[str, Any],
    dtype: str = "float32",
    properties: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Returns a network as ONNX: `images` to `logits`, both float32, for any batch.

    A network without a classifier computes `vector` instead.

    `images` are `[batch, resolution, resolution, in_channels]`, normalised, as those of the Flax
    network; the first operator transposes them.

    Args:
        network: what to write.
        variables: `{"params": …, "batch_stats": …}` of arrays; not modified.
        dtype: of the weights and of the computation, `float32` or `float16`.
        properties: what a reader should know, for the model's metadata.

    Raises:
        WeightsError: the model would be larger than the 2 GB that a file of ONNX can hold.
    """
    graph = _Graph(np.dtype(dtype))
    x = "images"
    if dtype != "float32":
        x = graph.node("Cast", x, to=helper.np_dtype_to_tensor_dtype(graph.dtype))
    x = graph.node("Transpose", x, perm=[0, 3, 1, 2])
    x = graph.node("Flatten", folded.outputs(network, variables, graph, x))
    output, width = folded.output_of(network)
    graph.node("Cast", x, to=TensorProto.FLOAT, output=output)
    if sum(tensor.ByteSize() for tensor in graph.weights) > _MOST_BYTES:
        raise WeightsError(f"{network.name} is larger than the 2 GB that a file of ONNX can hold")
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])]
        for name, shape in (("images", network.input_shape), (output, (width,)))
    )
    model = helper.make_model(
        helper.make_graph(graph.nodes, network.name, inputs, outputs, graph.weights),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="fastscale_jax",
    )
    helper.set_model_props(model, dict(properties or {}))
    return model


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    """Returns the logits, or the vectors, that onnxruntime computes on the CPU."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": images})[0])


class _Graph:
    """ONNX's operators, for `folded.outputs`; arrays are names of outputs, `[batch, c, h, w]`."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Adds an operator and returns the name of its output."""
        output = output or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, values: np.ndarray) -> str:
        # not ascontiguousarray, which gives a number an axis
        values = np.array(values, self.dtype, order="C")
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x: str, conv: folded.Conv) -> str:
        side = len(conv.kernel)
        weight = self.weight(f"{conv.name}.weight", conv.kernel.transpose(3, 2, 0, 1))
        return self.node(
            "Conv",
            *(x, weight, self.weight(f"{conv.name}.bias", conv.bias)),
            output=conv.name,
            group=conv.groups,
            kernel_shape=[side, side],
            strides=[conv.stride, conv.stride],
            **_pads(side, conv.padding),
        )

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def relu6(self, x: str) -> str:
        return self.node("Clip", x, *self.bounds_of_relu6)

    @functools.cached_property
    def bounds_of_relu6(self) -> tuple[str, str]:
        """Names of the two numbers, which are written once."""
        return self.weight("zero", np.zeros(())), self.weight("six", np.full((), 6.0))

    def sigmoid(self, x: str) -> str:
        return self.node("Sigmoid", x)

    def multiply(self, x: str, y: str) -> str:
        return self.node("Mul", x, y)

    def add(self, x: str, y: str) -> str:
        return self.node("Add", x, y)

    def max_pool(self, x: str, padding: str) -> str:
        pads = _pads(3, padding)
        return self.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], **pads)

    def mean_pool(self, x: str) -> str:
        return self.node(
            "AveragePool",
            x,
            kernel_shape=[2, 2],
            strides=[2, 2],
            ceil_mode=1,
            count_include_pad=0,
        )

    def mean(self, x: str) -> str:
        return self.node("GlobalAveragePool", x)


def _pads(side: int, padding: str) -> dict[str, Any]:
    """Attributes of an operator whose kernel has that side."""
    if padding == "same" and side > 1:
        return {"auto_pad": "SAME_UPPER"}
    return {"pads": [(side - 1) // 2] * 4}
