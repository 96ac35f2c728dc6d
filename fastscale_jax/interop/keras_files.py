"""Keras's files of weights, which are HDF5: `.weights.h5` of Keras 3, and `.h5` of older ones.

Keras 3 numbers layers of a kind; older files have the names of `keras.applications`. Both come out
with the numbers. The first layers of Keras's EfficientNets normalise the images, which is read too.
"""

import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastscale_jax.data.sources.conventions import SOURCES, Conventions, checked
from fastscale_jax.interop.beside import Beside
from fastscale_jax.interop.keras_layout import (
    CONV,
    DENSE,
    DEPTHWISE,
    NORM,
    NORMALIZATION,
    numbered,
)
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.utils.installation import pip_install

# Largest ratio of the arrays' size to the file's. Without compression the ratio is below 1.
_MOST_TIMES = 16
SIGNATURE = b"\x89HDF\r\n\x1a\n"
WEIGHTS = "model.weights.h5"
# what older files call the layers of a block, in the network's order
_IN_BLOCK = ("expand_conv", "expand_bn", "dwconv", "bn", "se_reduce", "se_expand", "project_conv")
_IN_BLOCK += ("project_bn",)
_LEAVES = {"kernel": 0, "depthwise_kernel": 0, "gamma": 0, "beta": 1, "moving_mean": 2}
_LEAVES |= {"bias": 1, "moving_variance": 3, "mean": 0, "variance": 1, "count": 2}


def read_keras(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the tensors of a file by their paths in Keras 3, and how images are normalised.

    Raises:
        WeightsError: h5py is missing, or the file is damaged.
    """
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            layers = set(root.get("layers", root))
            _check_size(path, h5py, root)
            found = dict(_arrays(h5py, root, ""))
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} is damaged, or not Keras's: {reason}") from error
    if not any(name.startswith("layers/") for name in found):
        found = _as_numbered(found)
    found = {name: x for name, x in found.items() if not name.startswith("optimizer")}
    mean, variance = (found.pop(f"layers/{NORMALIZATION}/vars/{i}", None) for i in (0, 1))
    found.pop(f"layers/{NORMALIZATION}/vars/2", None)
    if mean is None or variance is None:
        return found, {}
    with np.errstate(invalid="ignore"):  # a variance below 0, whose root is refused
        std = np.sqrt(variance.astype(np.float64)).ravel()
    if "rescaling_1" in layers:  # as keras.applications does it for its ImageNet weights
        std = std * np.sqrt(SOURCES["folder"].std)
    mean, std = (tuple(round(float(x), 6) for x in values) for values in (mean.ravel(), std))
    try:
        checked(Conventions(mean, std, crop=0.0))
    except ValueError as error:
        raise WeightsError(f"{path}: of its layer that normalises images, {error}") from error
    return found, {"beside": Beside(mean=mean, std=std)}


def write_keras(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a `.weights.h5` that Keras 3 loads, whole or not at all.

    The layer that normalises images gets ImageNet's usual mean and deviation.

    Args:
        path: its folder is made if need be; a file of that name is replaced.
        tensors: by their paths in Keras 3.

    Raises:
        WeightsError: h5py is missing, or it cannot be written.
    """
    h5py = _h5py(path)
    mean, std = (np.asarray(x, np.float32) for x in SOURCES["folder"][:2])
    images = {0: mean, 1: np.square(std), 2: np.int64(0)}
    normalization = {f"layers/{NORMALIZATION}/vars/{i}": x for i, x in images.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            unfinished = pathlib.Path(folder, path.name)
            with h5py.File(unfinished, "w") as file:
                for name, values in {**tensors, **normalization}.items():
                    file[name] = values
            os.replace(unfinished, path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror or error}") from error


def _h5py(path: pathlib.Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(
            f"{path} is Keras's, which needs h5py; run {pip_install('keras')}"
        ) from error
    return h5py


def _check_size(path: pathlib.Path, h5py: Any, root: Any) -> None:
    """Refuses a short file with large arrays, before HDF5 fills the arrays with zeros.

    Raises:
        ValueError: the arrays are far larger than the file, more than compression could explain.
    """
    wanted, size = 0, path.stat().st_size

    def add(_: str, value: Any) -> None:
        nonlocal wanted
        wanted += value.nbytes if isinstance(value, h5py.Dataset) else 0

    root.visititems(add)
    if wanted > _MOST_TIMES * size:
        raise ValueError(f"it has {size:,} bytes, and its arrays would take {wanted:,}")


def _arrays(h5py: Any, group: Any, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    for name in group:
        value = group.get(name, getlink=True)
        if not isinstance(value, h5py.HardLink):  # to another file
            raise ValueError(f"{prefix}{name} is a link")
        value = group[name]
        if isinstance(value, h5py.Dataset):
            if value.external is not None or value.is_virtual:
                raise ValueError(f"{prefix}{name} is kept in another file")
            if value.shape is not None and value.dtype.kind in "biuf":  # others are no weights
                yield f"{prefix}{name}", value[()]
        else:
            yield from _arrays(h5py, value, f"{prefix}{name}/")


def _as_numbered(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under the names of layers, as in `block1a_dwconv/…/depthwise_kernel:0`, by number."""
    by_layer: dict[str, dict[str, np.ndarray]] = {}
    for name, values in arrays.items():
        layer, leaf = name.partition("/")[0], name.rpartition("/")[2].partition(":")[0]
        by_layer.setdefault(layer, {})[leaf] = values
    numbers: dict[str, int] = {}
    found = {}
    for layer in sorted(by_layer, key=_position):
        kind = _kind(layer, by_layer[layer])
        number = numbers[kind] = numbers.get(kind, -1) + 1
        for leaf, values in by_layer[layer].items():
            found[f"{numbered(kind, number)}/vars/{_LEAVES.get(leaf, leaf)}"] = values
    return found


def _kind(layer: str, leaves: Mapping[str, np.ndarray]) -> str:
    if layer.startswith(NORMALIZATION):
        return NORMALIZATION
    if "gamma" in leaves:
        return NORM
    if layer.endswith("_dwconv"):
        return DEPTHWISE
    return CONV if leaves.get("kernel", np.zeros(0)).ndim == 4 else DENSE


def _position(layer: str) -> tuple[int, str, int]:
    """Where a layer of keras.applications stands in the network."""
    block = re.fullmatch(r"block(\d+)([a-z]+)_(\w+)", layer)
    if block and block[3] in _IN_BLOCK:
        return int(block[1]), f"{len(block[2])}{block[2]}", _IN_BLOCK.index(block[3])
    return (0 if layer.startswith(("stem", NORMALIZATION)) else 99), layer, 0
