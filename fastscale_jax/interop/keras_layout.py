"""Every tensor of an EfficientNet in Keras's files of weights, in which layers have numbers."""

import collections
from collections.abc import Iterator

from fastscale_jax.arch import Architecture, layers
from fastscale_jax.interop.tensor import Tensor

# what a layer with weights is called in a `.weights.h5` of Keras 3, before its number
CONV, DEPTHWISE, NORM, DENSE = "conv2d", "depthwise_conv2d", "batch_normalization", "dense"
IN_FILE = "layers/"  # before all of them
NORMALIZATION = "normalization"  # of the images: mean, variance and a count

# for each of our axes, the number of theirs
_CONV, _DEPTHWISE, _DENSE, _VECTOR = (0, 1, 2, 3), (0, 1, 3, 2), (0, 1), (0,)


def numbered(kind: str, number: int) -> str:
    """Returns the path of a layer in a file: `layers/conv2d`, `layers/conv2d_1` and so on."""
    return f"{IN_FILE}{kind}" + (f"_{number}" if number else "")


def keras_tensors(a: Architecture) -> Iterator[Tensor]:
    """Yields every tensor of a network, as `layout.tensors` does.

    Keras counts the layers of each kind in the order of the network, which is ours too.

    Args:
        a: an EfficientNet with SE.
    """
    counts: collections.Counter[str] = collections.Counter()

    def next_layer(kind: str) -> str:
        counts[kind] += 1
        return numbered(kind, counts[kind] - 1)

    for layer in layers(a):
        if not layer.c_group:
            continue
        path = tuple(layer.name.split("."))
        kernel, bias = (("params", *path, leaf) for leaf in ("kernel", "bias"))
        k, c_in, c_out = layer.kernel, layer.c_group, layer.width
        if path[-1] == "fc":
            name = next_layer(DENSE)
            yield Tensor(kernel, f"{name}/vars/0", (c_in, c_out), (c_in, c_out), _DENSE)
            yield Tensor(bias, f"{name}/vars/1", (c_out,), (c_out,), _VECTOR)
        elif "se" in path:  # dense in ours
            name = next_layer(CONV)
            yield Tensor(kernel, f"{name}/vars/0", (c_in, c_out), (1, 1, c_in, c_out), _DENSE)
            yield Tensor(bias, f"{name}/vars/1", (c_out,), (c_out,), _VECTOR)
        else:
            is_depthwise = path[-1] == "b"
            name, ours = next_layer(DEPTHWISE if is_depthwise else CONV), (k, k, c_in, c_out)
            theirs = (k, k, c_out, 1) if is_depthwise else ours
            yield Tensor(
                kernel, f"{name}/vars/0", ours, theirs, _DEPTHWISE if is_depthwise else _CONV
            )
            yield from _norm(path, next_layer(NORM), c_out)


def _norm(path: tuple[str, ...], name: str, width: int) -> Iterator[Tensor]:
    leaves = (
        *(("params", leaf) for leaf in ("scale", "bias")),
        *(("batch_stats", leaf) for leaf in ("mean", "var")),
    )
    for i, (collection, leaf) in enumerate(leaves):
        where = (collection, *path, "bn", leaf)
        yield Tensor(where, f"{name}/vars/{i}", (width,), (width,), _VECTOR)
