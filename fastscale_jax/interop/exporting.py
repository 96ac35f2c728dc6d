"""A trained network as files that need nothing of this package: `fastscale export`."""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

import fastscale_jax
from fastscale_jax.arch import Architecture
from fastscale_jax.convs.conv_choice import refusal
from fastscale_jax.data.augment.augmented import GREY
from fastscale_jax.data.sources.conventions import SourceInfo, checked
from fastscale_jax.interop import keras_files
from fastscale_jax.interop.files import MANIFEST, WEIGHTS
from fastscale_jax.interop.folded import output_of
from fastscale_jax.interop.formats import FORMATS, check_formats, converted
from fastscale_jax.interop.load import save
from fastscale_jax.interop.naming import KERAS
from fastscale_jax.interop.weights import WeightsError, check_finite, to_library
from fastscale_jax.models import build

PLATFORMS = ("cpu", "cuda", "tpu")


def export_network(
    folder: pathlib.Path,
    network: Architecture,
    variables: Mapping[str, Any],
    *,
    images: SourceInfo,
    config: Mapping[str, Any],
    dtype: str = "float32",
    grouped_conv: str = "auto",
    names: str = "fastscale_jax",
    formats: Sequence[str] = ("stablehlo",),
    stored_dtype: str = "float32",
) -> list[pathlib.Path]:
    """Writes a network's inference function, a description for its users, and its weights.

    `model.jaxexport` is StableHLO as `jax.export` serialises it, weights included: it maps
    normalised images `[batch, resolution, resolution, in_channels]` float32 to logits
    `[batch, num_classes]` float32, for any batch. `manifest.json` describes these arrays, the
    normalisation and the classes. `weights.safetensors` (for Keras `model.weights.h5`) has only the
    weights. `model.onnx` and `model.tflite` are the same function for other runtimes.

    Args:
        folder: made if need be.
        network: what to export.
        variables: its weights.
        images: that the network was trained on.
        config: of the run, as in `config.json`.
        dtype: of the computation.
        grouped_conv: as in `models.build`; `auto` takes what suits each platform.
        names: those of the tensors in `weights.safetensors`, as in `load.save`.
        formats: of the function, from `FORMATS`.
        stored_dtype: of the weights in `model.onnx` and `model.tflite`: `float32` or `float16`.

    Returns:
        The files.

    Raises:
        WeightsError: the files cannot be written, the library of `names` has no such network,
            weights are NaN or infinite, or a format computes other logits. Then none is written.
        ValueError: a format is unknown, its package is not installed, or the normalisation of the
            images cannot be computed with.
    """
    check_formats(formats)
    # what cannot be used is refused before anything is written
    check_finite(to_library(names, network, variables))
    checked(images.conventions)
    about = manifest(network, images, config, formats)
    others = [name for name in formats if name != "stablehlo"]
    functions: dict[str, bytes | bytearray] = {}
    functions |= converted(others, network, variables, stored_dtype, about)
    if "stablehlo" in formats:
        functions["stablehlo"] = serialized(network, variables, dtype, grouped_conv)
    contents = {FORMATS[name].file: functions[name] for name in formats}
    contents[MANIFEST] = (json.dumps(about, indent=2, allow_nan=False) + "\n").encode()
    weights = keras_files.WEIGHTS if names == KERAS else WEIGHTS
    files = [folder / name for name in (*contents, weights)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            if file.is_dir():
                raise WeightsError(f"{file} cannot be written: it is a folder")
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            for name, content in contents.items():
                pathlib.Path(unfinished, name).write_bytes(content)
            save(pathlib.Path(unfinished, weights), network, variables, names)
            for file in files:
                os.replace(pathlib.Path(unfinished, file.name), file)
    except OSError as error:
        raise WeightsError(f"{folder} cannot be written: {error.strerror or error}") from error
    return files


def serialized(
    network: Architecture, variables: Mapping[str, Any], dtype: str, grouped_conv: str
) -> bytearray:
    """Returns the inference function as `jax.export.deserialize` reads it."""
    a, weights = network, jax.tree.map(jnp.asarray, dict(variables))

    if "native" in grouped_conv:
        reason = "cannot be exported: it lives in the process that compiled it"
        raise WeightsError(refusal("native", reason))
    # the file may run where our native code is not
    model = build(a, dtype=jnp.dtype(dtype), grouped_conv=grouped_conv.replace("auto", "portable"))

    def infer(images: jax.Array) -> jax.Array:
        return jnp.asarray(model.apply(weights, images, train=False))

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *a.input_shape), jnp.float32)
    return export.export(jax.jit(infer), platforms=PLATFORMS)(images).serialize()


def manifest(
    network: Architecture,
    images: SourceInfo,
    config: Mapping[str, Any],
    formats: Sequence[str] = ("stablehlo",),
) -> dict[str, Any]:
    """Returns what must be known to use the exported function, and to train the network further."""
    side, conventions = network.resolution, images.conventions
    meaning, width = output_of(network)
    resize: dict[str, int] = {"height": side, "width": side}
    if conventions.crop:
        resized = round(side / conventions.crop)
        is_squashed = conventions.crop_mode == "squash"
        resize = {"height": resized, "width": resized} if is_squashed else {"short_side": resized}
        resize["centre_crop"] = side
    return {
        "name": network.name,
        "made_by": f"fastscale_jax {fastscale_jax.__version__}, jax {jax.__version__}",
        "function": FORMATS[formats[0]].file,
        "formats": {name: FORMATS[name].file for name in formats},
        "platforms": list(PLATFORMS),  # of stablehlo
        "input": {
            "shape": ["batch", *network.input_shape],
            "size": side,
            "dtype": "float32",
            "channels": {1: "grey", 3: "RGB"}.get(network.in_channels, network.in_channels),
            **({"grey": list(GREY)} if network.in_channels == 1 else {}),
            "resize": resize,
            "interpolation": conventions.interpolation,
            "crop_mode": conventions.crop_mode,
            "pixel_range": [0, 1],
            "mean": list(conventions.mean),
            "std": list(conventions.std),
            "crop": conventions.crop,
            "exif": images.exif,
        },
        "output": {
            "shape": ["batch", width],
            "dtype": "float32",
            "meaning": meaning,
        },
        "classes": list(images.classes),
        "config": {**config, "model": network.to_config().to_dict()},
    }
