"""The formats that a network is exported to, and the check that each computes the same logits."""

import functools
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.interop.files import ONNX, STABLEHLO, TFLITE
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.models import build
from fastscale_jax.utils.compiling import hasty
from fastscale_jax.utils.installation import pip_install

# how far logits may be off, as a share of the largest: measured were 1e-6 and 8e-4
_TOLERANCES = {"float32": 1e-4, "float16": 1e-2}
DTYPES = tuple(_TOLERANCES)
_CHECKED = 2  # images


class Format(NamedTuple):
    """A file that a network is exported to."""

    file: str
    package: str = ""  # that writes it, beside our own dependencies
    extra: str = ""  # that brings the package


FORMATS = {
    "stablehlo": Format(STABLEHLO),
    "onnx": Format(ONNX, "onnx", "onnx"),
    "tflite": Format(TFLITE, "tensorflow", "data"),
}


def check_formats(formats: Sequence[str]) -> None:
    """Refuses formats that cannot be written here.

    Args:
        formats: names; `FORMATS` has them.

    Raises:
        ValueError: there is no such format, none at all, or the package that writes it is not
            installed.
    """
    for name in formats or ("",):
        if name not in FORMATS:
            raise ValueError(
                f"unknown format {name!r}; {did_you_mean(nearest(name, FORMATS))}choose among "
                f"{', '.join(FORMATS)}"
            )
        package, extra = FORMATS[name].package, FORMATS[name].extra
        if package and importlib.util.find_spec(package) is None:
            raise ValueError(f"the format {name} needs {package}; run {pip_install(extra)}")


def converted(
    formats: Sequence[str],
    network: Architecture,
    variables: Mapping[str, Any],
    dtype: str,
    about: Mapping[str, Any],
) -> dict[str, bytes]:
    """Returns the network in formats of other frameworks, each checked against our own logits.

    An ONNX model is checked where onnxruntime is installed, which the extra brings.

    Args:
        formats: `onnx`, `tflite` or both.
        network: what to write.
        variables: its weights.
        dtype: of the weights in the files, one of `DTYPES`.
        about: the manifest; its sections become properties of an ONNX model.

    Returns:
        The content of a file by format.

    Raises:
        WeightsError: a file would be too large for its format, or computes other logits.
    """
    contents: dict[str, bytes] = {}
    runners: dict[str, Callable[[bytes, np.ndarray], np.ndarray]] = {}
    if "onnx" in formats:
        from fastscale_jax.interop import onnx_graph

        properties = {key: _property(value) for key, value in about.items()}
        model = onnx_graph.onnx_model(network, variables, dtype, properties)
        contents["onnx"] = model.SerializeToString()
        if importlib.util.find_spec("onnxruntime"):
            runners["onnx"] = onnx_graph.run
    if "tflite" in formats:
        from fastscale_jax.interop import tflite

        contents["tflite"] = tflite.tflite_model(network, variables, dtype)
        runners["tflite"] = tflite.run
    if runners:
        images = _images(network)
        wanted = _logits(network, variables, images)
        for name, run in runners.items():
            _compare(name, run(contents[name], images), wanted, dtype)
    return contents


def _property(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _images(network: Architecture) -> np.ndarray:
    shape = (_CHECKED, *network.input_shape)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _logits(network: Architecture, variables: Mapping[str, Any], images: np.ndarray) -> np.ndarray:
    # it runs once: machine code of our own takes longer to compile than it saves
    model = build(network, grouped_conv="portable")
    apply = jax.jit(functools.partial(model.apply, train=False), compiler_options=hasty())
    return np.asarray(apply(variables, images))


def _compare(name: str, theirs: np.ndarray, wanted: np.ndarray, dtype: str) -> None:
    off, largest = float(np.abs(theirs - wanted).max()), float(np.abs(wanted).max())
    if not off <= _TOLERANCES[dtype] * largest:  # NaN is off too
        raise WeightsError(
            f"the network as {name} in {dtype} computes other logits: they are off by {off:.2g}, "
            f"the largest being {largest:.2g}, and {_TOLERANCES[dtype]:.0e} of that is allowed"
            + ("; export it in float32" if dtype != "float32" else "")
        )
