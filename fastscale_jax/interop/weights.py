"""Weights of other libraries as variables of our networks, and back.

    variables = from_timm(config, state_dict)
    logits = models.build(config).apply(variables, images, train=False)

A state dict is a mapping of names to numpy arrays or PyTorch tensors, in PyTorch's layout. It is
checked tensor by tensor; the weights of other networks are refused. docs/weights.md has the table
of networks that are known.
"""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fastscale_jax.arch import Architecture, as_architecture
from fastscale_jax.interop.counterparts import closest_named
from fastscale_jax.interop.keras_layout import IN_FILE
from fastscale_jax.interop.layout import LIBRARIES, tensors
from fastscale_jax.interop.naming import KERAS
from fastscale_jax.interop.tensor import Tensor

Config = ConfigDict | Mapping[str, object] | Architecture
Shape = tuple[int, ...]
Variables = dict[str, Any]  # {"params": tree, "batch_stats": tree}, of numpy arrays

# PyTorch counts the batches that a BatchNorm has seen; we never need the count.
_COUNTER = "num_batches_tracked"
_CLASSIFIER = ("params", "head", "fc")


class WeightsError(ValueError):
    """Weights that are not the network's, or a file of weights that cannot be read or written."""


class Imported(NamedTuple):
    """Variables, perhaps without the classifier."""

    variables: Variables
    lacks_classifier: bool  # the file's is for another number of classes, or missing


def from_pycls(config: Config, state_dict: Mapping[str, Any]) -> Variables:
    """Returns the variables of a network from the reference's state dict.

    Kernels change their layout, and the stem's input channels their order: pycls has BGR, we have
    RGB. Running variances are not changed: PyTorch's are unbiased estimates (n - 1), and those that
    Flax updates are biased (n).

    Args:
        config: the fields of `config.model`, or an `Architecture`; not modified.
        state_dict: name → array or tensor; not modified. `num_batches_tracked` may be there or not.

    Returns:
        `{"params": …, "batch_stats": …}` of numpy arrays: float64 stays float64, narrower floats
        become float32.

    Raises:
        WeightsError: a tensor is missing, unknown, not of finite numbers, or of the wrong shape.
        ValueError: the config describes no network.
    """
    return _from("pycls", config, state_dict)


def from_timm(config: Config, state_dict: Mapping[str, Any]) -> Variables:
    """Returns the variables of a network from timm's state dict; otherwise as `from_pycls`.

    timm has networks with the same tensors that compute something else, and a state dict does not
    show it: `resnetblur50`, `resnetaa50` and others. Of EfficientNets, `config` says which they
    are: `tf_efficientnet_*` have the padding `same` and an epsilon of 1e-3.

    Raises:
        WeightsError: as `from_pycls`, or timm has no network like this one.
        ValueError: the config describes no network.
    """
    return _from("timm", config, state_dict)


def from_torchvision(config: Config, state_dict: Mapping[str, Any]) -> Variables:
    """Returns the variables of a network from torchvision's state dict; otherwise as `from_pycls`.

    The epsilon of torchvision's EfficientNets B5 to B7 is 1e-3. Where the network's is another, the
    difference is added to the running variances, so that evaluation is the same.

    Raises:
        WeightsError: as `from_pycls`, or torchvision has no network like this one.
        ValueError: the config describes no network.
    """
    return _from("torchvision", config, state_dict)


def to_pycls(config: Config, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns variables as the reference's state dict: the exact inverse of `from_pycls`.

    Args:
        config: the fields of `config.model`, or an `Architecture`; not modified.
        variables: `{"params": …, "batch_stats": …}` of arrays; not modified.

    Returns:
        name → array, without `num_batches_tracked`, which `load_state_dict(strict=True)` does not
        ask for. The arrays are copies.

    Raises:
        WeightsError: the variables are not those of the network.
        ValueError: the config describes no network.
    """
    return to_library("pycls", config, variables)


def to_timm(config: Config, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns variables as timm's state dict: the exact inverse of `from_timm`.

    Raises:
        WeightsError: as `to_pycls`, or timm has no network like this one.
        ValueError: the config describes no network.
    """
    return to_library("timm", config, variables)


def to_torchvision(config: Config, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns variables as torchvision's state dict: the inverse of `from_torchvision`.

    It is exact but for the running variances of EfficientNets B5 to B7, which are rounded.

    Raises:
        WeightsError: as `to_pycls`, or torchvision has no network like this one.
        ValueError: the config describes no network.
    """
    return to_library("torchvision", config, variables)


def to_library(library: str, config: Config, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns variables under a library's names and in its layout; see `to_pycls`.

    Args:
        library: one of `layout.LIBRARIES`; `fastscale_jax` has our own names.
        config: the fields of `config.model`, or an `Architecture`; not modified.
        variables: `{"params": …, "batch_stats": …}` of arrays; not modified.

    Raises:
        WeightsError: the variables are not those of the network, or the library has none like it.
        ValueError: the config describes no network, or the library is unknown.
    """
    a = as_architecture(config)
    wanted = _tensors(a, library)
    arrays = {".".join(path): x for path, x in _leaves(variables)}
    _check(a, arrays, {".".join(tensor.path): tensor.our_shape for tensor in wanted})
    ours = {t.name: _array(t.name, arrays[".".join(t.path)]) for t in wanted}
    return {tensor.name: tensor.to_theirs(ours[tensor.name]) for tensor in wanted}


def import_tensors(
    library: str,
    config: Config,
    state_dict: Mapping[str, Any],
    *,
    other_classes: bool = False,
    is_rgb: bool = False,
) -> Imported:
    """Returns the variables of a network from a library's tensors; see `from_pycls`.

    Args:
        library: one of `layout.LIBRARIES`.
        config: the fields of `config.model`, or an `Architecture`; not modified.
        state_dict: name → array or tensor; not modified.
        other_classes: leave a classifier for another number of classes out, instead of raising.
        is_rgb: the stem takes RGB, also where the library's take BGR.

    Raises:
        WeightsError: as `from_pycls`, or the library has no network like this one.
        ValueError: the config describes no network, or the library is unknown.
    """
    a = as_architecture(config)
    arrays = {name: x for name, x in state_dict.items() if not _is_counter(name)}
    try:
        wanted = _tensors(a, library)
    except WeightsError as error:
        hint = _hint(_shapes(arrays))
        raise WeightsError(f"these are not the weights of {a.name}: {error}{hint}") from error
    if is_rgb:
        wanted = [tensor._replace(is_bgr=False) for tensor in wanted]
    kernel, bias = _classifier(a, library)
    classes = _classes(kernel, bias, arrays)
    if classes == 0 and arrays.keys() != {t.name for t in wanted} - {kernel.name, bias.name}:
        classes = None  # of another network, or of none
    is_left_out = classes not in (None, a.num_classes)
    if is_left_out and not other_classes:
        raise WeightsError(
            f"these weights are for another number of classes: {bias.name} has {classes}, "
            f"{a.name} {a.num_classes}"
        )
    if is_left_out:
        left_out = {kernel.name, bias.name}
        wanted = [tensor for tensor in wanted if tensor.name not in left_out]
        arrays = {name: x for name, x in arrays.items() if name not in left_out}
    _check(a, arrays, {tensor.name: tensor.shape for tensor in wanted})
    values = {tensor.name: _array(tensor.name, arrays[tensor.name]) for tensor in wanted}
    check_finite(values)
    flat = {tensor.path: tensor.to_ours(values[tensor.name]) for tensor in wanted}
    return Imported(nested(flat), is_left_out and a.num_classes > 0)


def detect(config: Config, shapes: Mapping[str, Shape]) -> str:
    """Returns the library whose names a state dict has.

    Args:
        config: the network that the state dict should be of.
        shapes: of its tensors, by name.

    Raises:
        WeightsError: the names are of no known library.
        ValueError: the config describes no network.
    """
    library = library_of(as_architecture(config), shapes)
    if library is not None:
        return library
    names = {name for name in shapes if not _is_counter(name)}
    if names and all(name.startswith(IN_FILE) for name in names):
        return KERAS
    # Not this network's tensors, but perhaps another's: the library's names then serve the message.
    closest = closest_named(shapes)
    if closest is None:
        raise WeightsError(
            f"these names of tensors are none of {', '.join(LIBRARIES)}'s; the first is "
            f"{min(names, default=None)!r}"
        )
    return closest.network.package


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses weights with which a network would compute only NaN.

    Args:
        arrays: arrays by name of the tensor; the names are for the message.

    Raises:
        WeightsError: values are NaN or infinite; the message says in which tensors, and how many.
    """
    counts = {name: x.size - np.isfinite(x).sum() for name, x in arrays.items()}
    bad = [name for name, count in counts.items() if count]
    if bad:
        others = ""
        if bad[1:]:
            tensors_have = "tensor has" if len(bad) == 2 else "tensors have"
            others = f", and {len(bad) - 1} other {tensors_have} some"
        raise WeightsError(
            f"{counts[bad[0]]:,} of the {arrays[bad[0]].size:,} values of {bad[0]} are NaN or "
            f"infinite{others}: the training run of these weights has diverged; use earlier weights"
        )


def library_of(a: Architecture, shapes: Mapping[str, Shape]) -> str | None:
    """Returns the library whose names for a network's tensors are these; None: there is none.

    Args:
        a: the network.
        shapes: of the tensors, by name.
    """
    names = {name for name in shapes if not _is_counter(name)}
    for library in LIBRARIES:
        with contextlib.suppress(ValueError):  # the library has no network like this one
            classifier = {tensor.name for tensor in _classifier(a, library)}
            wanted = {tensor.name for tensor in tensors(a, library)}
            if names - classifier == wanted - classifier:
                return library
    return None


def nested(flat: Mapping[tuple[str, ...], Any]) -> Variables:
    """Returns the tree whose leaves have these paths."""
    tree: Variables = {}
    for path, leaf in flat.items():
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = leaf
    return tree


def _from(library: str, config: Config, state_dict: Mapping[str, Any]) -> Variables:
    return import_tensors(library, config, state_dict).variables


def _tensors(a: Architecture, library: str) -> list[Tensor]:
    if library not in LIBRARIES:
        raise ValueError(f"unknown library {library!r}; choose one of {', '.join(LIBRARIES)}")
    try:
        return list(tensors(a, library))
    except ValueError as error:
        raise WeightsError(str(error)) from error


def _is_counter(name: str) -> bool:
    return name.endswith(f".{_COUNTER}")


def _array(name: str, values: Any) -> np.ndarray:
    """Returns a tensor of PyTorch or numpy as float32; float64 stays float64."""
    if hasattr(values, "detach"):
        if values.is_quantized or values.is_meta or str(values.layout) != "torch.strided":
            raise WeightsError(f"tensor {name} is quantized, sparse or without values")
        values = values.detach().cpu()
        # numpy has no bfloat16, and the result is float32 in any case
        values = values.float() if values.is_floating_point() and values.itemsize < 4 else values
    array = np.asarray(values)
    if array.dtype == np.float64:
        return array
    if not jnp.issubdtype(array.dtype, np.floating):
        raise WeightsError(f"tensor {name} holds {array.dtype}, not floating-point numbers")
    return array.astype(np.float32)


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Shape]:
    """Returns the shapes of arrays and tensors, without reading their values."""
    for name, tensor in tensors.items():
        if not hasattr(tensor, "shape"):
            raise WeightsError(
                f"{name} is no tensor, but of type {type(tensor).__name__}; a state dict has "
                "tensors alone"
            )
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _classifier(a: Architecture, library: str) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a network's classifier; where it has none, as if for one class."""
    of_one = a if a.num_classes else dataclasses.replace(a, num_classes=1)
    kernel, bias = (t for t in _tensors(of_one, library) if t.path[:3] == _CLASSIFIER)
    return kernel, bias


def _classes(kernel: Tensor, bias: Tensor, arrays: Mapping[str, Any]) -> int | None:
    """For how many classes a state dict's classifier is; 0: it has none; None: it does not fit."""
    if kernel.name not in arrays and bias.name not in arrays:
        return 0
    if kernel.name not in arrays or bias.name not in arrays:
        return None
    both = _shapes({name: arrays[name] for name in (kernel.name, bias.name)})
    shapes, classes = tuple(both.values()), kernel.axes[1]
    (other,) = shapes[1] if len(shapes[1]) == 1 else bias.shape
    expected = tuple(other if i == classes else n for i, n in enumerate(kernel.shape))
    return other if shapes == (expected, (other,)) else None


def _check(a: Architecture, arrays: Mapping[str, Any], wanted: Mapping[str, Shape]) -> None:
    """Refuses tensors that are not exactly those of a network; names the first of each problem."""
    shapes = _shapes(arrays)
    missing = [f"{name} is missing" for name in wanted if name not in arrays]
    unknown = [f"{x} is not one of its tensors" for x in sorted(arrays.keys() - wanted.keys())]
    misshapen = [
        f"{name} has the shape {list(shapes[name])} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in shapes and shapes[name] != shape
    ]
    problems = [
        kind[0] + (f" (and {len(kind) - 1} more)" if len(kind) > 1 else "")
        for kind in (misshapen, missing, unknown)
        if kind
    ]
    if not problems:
        return
    hint = _hint(shapes, set(wanted.items()))
    raise WeightsError(f"these are not the weights of {a.name}: {'; '.join(problems)}{hint}")


def _hint(shapes: Mapping[str, Shape], wanted: Collection[tuple[str, Shape]] = ()) -> str:
    """Returns the end of an error message: the named network that the tensors are of, if any."""
    closest = closest_named(shapes)
    if closest is None or not closest.shapes <= set(shapes.items()):
        return ""
    if closest.shapes <= set(wanted):
        return ""
    return f"; they are those of {closest.description}"
