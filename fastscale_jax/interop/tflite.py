"""The network of an `Architecture` as a TFLite model. Needs TensorFlow, of the extra `data`."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastscale_jax.arch import Architecture
from fastscale_jax.interop import folded


def tflite_model(
    network: Architecture, variables: Mapping[str, Any], dtype: str = "float32"
) -> bytes:
    """Returns a network as TFLite: `images` to `logits`, both float32, for any batch.

    A network without a classifier computes `vector` instead.

    Args:
        network: what to write.
        variables: `{"params": …, "batch_stats": …}` of arrays; not modified.
        dtype: of the weights in the file; `float16` ones are computed with in float32 on CPUs.
    """
    with _in_silence():
        import tensorflow as tf  # pyright: ignore[reportMissingImports]

        output, width = folded.output_of(network)
        images = tf.TensorSpec((None, *network.input_shape), tf.float32, name="images")

        def infer(images: Any) -> Any:
            x = folded.outputs(network, variables, _Operators(tf), images)
            return {output: tf.reshape(x, (-1, width))}

        function: Any = tf.function(infer, input_signature=[images], autograph=False)
        concrete = function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        if dtype == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    """Returns the logits, or the vectors, that TensorFlow's own interpreter computes."""
    with _in_silence():
        import tensorflow as tf  # pyright: ignore[reportMissingImports]

        interpreter = tf.lite.Interpreter(model_content=content)
        (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(inputs["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(inputs["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(outputs["index"])


class _Operators:
    """TensorFlow's operators, for `folded.outputs`; arrays are tensors `[batch, h, w, c]`."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf
        self.relu, self.relu6, self.sigmoid = tf.nn.relu, tf.nn.relu6, tf.nn.sigmoid
        self.multiply, self.add = tf.multiply, tf.add

    def conv(self, x: Any, conv: folded.Conv) -> Any:
        kernel, stride = conv.kernel.astype(np.float32), conv.stride
        nn, pad = self.tf.nn, (len(kernel) - 1) // 2
        # at stride 1 the two ways are one
        padding = "SAME"
        if stride > 1 and pad and conv.padding == "symmetric":
            x, padding = self.tf.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))), "VALID"
        if kernel.shape[2] == 1 and conv.groups == kernel.shape[3]:
            strides = (1, stride, stride, 1)
            kernel = kernel.transpose(0, 1, 3, 2)
            y = nn.depthwise_conv2d(x, kernel, strides=strides, padding=padding)
        else:
            y = nn.conv2d(x, kernel, strides=stride, padding=padding)
        return nn.bias_add(y, conv.bias.astype(np.float32))

    def max_pool(self, x: Any, padding: str) -> Any:
        if padding == "same":
            return self.tf.nn.max_pool2d(x, 3, 2, "SAME")
        lowest = self.tf.float32.min
        x = self.tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=lowest)
        return self.tf.nn.max_pool2d(x, 3, 2, "VALID")

    def mean_pool(self, x: Any) -> Any:
        return self.tf.nn.avg_pool2d(x, 2, 2, "SAME")  # what is padded does not count

    def mean(self, x: Any) -> Any:
        return self.tf.reduce_mean(x, (1, 2), keepdims=True)


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """Hides messages of TensorFlow's converter that are meant for its developers.

    The converter writes to stderr's file descriptor, not through Python's `sys.stderr`.
    """
    sys.stderr.flush()
    with warnings.catch_warnings(), open(os.devnull, "wb") as nowhere:
        warnings.simplefilter("ignore")
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
