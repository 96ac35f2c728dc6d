"""Files of tensors: safetensors, PyTorch's, our own checkpoints, told apart by their content."""

import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from fastscale_jax.checkpoints.about import read_about
from fastscale_jax.checkpoints.saved import CheckpointError, find_checkpoint, read_variables
from fastscale_jax.checkpoints.stores import Folder, check_reachable, is_remote
from fastscale_jax.data.sources.conventions import OWN, SourceInfo
from fastscale_jax.interop import keras_files
from fastscale_jax.interop.beside import Beside, beside_of, read_beside
from fastscale_jax.interop.hub import FILES, download, is_on_hub, reference
from fastscale_jax.interop.pretrained import OWNER, of_repository
from fastscale_jax.interop.torch_files import read_torch, unwrapped
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.utils.guarded_file import regular_size
from fastscale_jax.utils.json_file import parsed, read_json
from fastscale_jax.utils.paths import with_home

_METADATA_KEY = "fastscale_jax"
# the files of an export
STABLEHLO, ONNX, TFLITE = "model.jaxexport", "model.onnx", "model.tflite"
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),  # BatchNorm's counters
}


class Stored(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Any]  # by name; arrays, or PyTorch's tensors
    # what it says about its network: our own metadata, pycls's or timm's; `images`, a SourceInfo;
    # `beside`, a Beside; `channels`, their order in a file of our twin
    about: dict[str, Any]
    file: pathlib.Path | None = None  # where it lies on this machine; None: in an object store


def read(path: str | os.PathLike[str]) -> Stored:
    """Returns the tensors of a file, or of a checkpoint's folder. No code in it is ever run.

    Args:
        path: a safetensors file; a PyTorch file (`.pth`, `.pyth`) of tensors and plain values,
            `file.pth#ema` for the averaged weights in it; weights on the hub, as in
            `hf:timm/regnety_004.pycls_in1k`; or a folder: a workdir, one of its checkpoints (in an
            object store too), or one that holds one of `hub.FILES`. The content decides, not the
            name. What a `config.json` beside a file says of it is read too.

    Raises:
        WeightsError: it does not exist, is damaged, is no file of weights, or would run code; or
            the hub does not have it, or is not reached.
        ValueError: its store cannot be reached.
    """
    name, key = _without_key(path)
    if is_on_hub(name):
        stored = _read_local(download(os.fspath(name)), key)
        return stored._replace(about=_of_hub(os.fspath(name)) | stored.about)
    if key and (is_remote(name) or pathlib.Path(name).is_dir()):
        raise WeightsError(f"{path}: #{key} is for PyTorch files; this is a folder")
    if is_remote(name):
        check_reachable(Folder(name), "the checkpoint")
        return _read_checkpoint(Folder(name))
    return _read_local(pathlib.Path(name), key)


def described(path: str | os.PathLike[str]) -> Beside:
    """Returns the description beside weights, without reading the weights; empty without one.

    Args:
        path: as in `read`.

    Raises:
        WeightsError: as `read` for weights on the hub, or a config.json is invalid.
    """
    name, _ = _without_key(path)
    if is_remote(name):
        return Beside()
    if is_on_hub(name):
        name, about = download(os.fspath(name)), _of_hub(os.fspath(name))
    else:
        name, about = pathlib.Path(name), {}
    if name.is_dir():
        if find_checkpoint(Folder(name)) is not None:  # the config.json there is the run's
            return Beside()
        name /= "file"
    return beside_of(about | read_beside(name))


def _without_key(path: str | os.PathLike[str]) -> tuple[str, str]:
    """A path, and what is chosen in the file, as in `checkpoint.pth#ema`."""
    path = with_home(os.fspath(path))
    name, mark, key = path.rpartition("#")
    return (name, key) if mark and not os.path.exists(path) else (path, "")


def _of_hub(name: str) -> dict[str, Any]:
    """What the name of weights on the hub says of them."""
    repository = reference(name).repository
    owner, _, network = repository.partition("/")
    known = of_repository(repository)
    licence = {"licence": known.licence} if known else {}
    return {**licence, **({"names": [network]} if owner == OWNER else {})}


def _is_whole_zip(path: pathlib.Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # it says of itself that it spans several disks
        return False


def _read_local(path: pathlib.Path, key: str) -> Stored:
    try:
        if path.is_dir():
            return _read_folder(path.absolute())  # Orbax takes no other
        regular_size(path)  # of a pipe there may be nothing to read, ever
        with path.open("rb") as file:
            start = file.read(9)
        is_safetensors = (
            start[8:] == b"{"
        )  # after the header's length, which can look like a pickle
        is_zip = start[:4] == b"PK\x03\x04" and not is_safetensors
        if is_zip and not _is_whole_zip(path):
            raise WeightsError(f"{path} is damaged or cut short")
        is_hdf5 = start.startswith(keras_files.SIGNATURE)
        if key and (is_safetensors or is_hdf5):
            raise WeightsError(f"{path} holds one network; #{key} is for PyTorch files")
        if is_hdf5:
            tensors, about = keras_files.read_keras(path)
            return Stored(tensors, about | read_beside(path) | _manifest_beside(path), path)
        if is_safetensors:
            return _read_safetensors(path)
        if is_zip or (start[:1] == b"\x80" and start[1:2] <= b"\x05"):  # a pickle
            tensors, about = read_torch(path, key)
            if "note" in about:
                about |= _own_metadata(path, about.pop("note"))
            beside = read_beside(path)
            names = [*about.get("names", ()), *beside.get("names", ())]
            return Stored(tensors, {**beside, **about, **({"names": names} if names else {})}, path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    raise WeightsError(
        f"{path} is no file of weights: neither safetensors, nor PyTorch's, nor Keras's, nor a "
        "folder with a checkpoint"
    )


def write(path: pathlib.Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Writes a safetensors file, whole or not at all.

    Args:
        path: its folder is made if need be; a file of that name is replaced.
        tensors: by name.
        about: goes into the file's metadata, and comes back from `read`.

    Raises:
        WeightsError: it cannot be written.
    """
    metadata = {"format": "pt", _METADATA_KEY: json.dumps(about)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            unfinished = pathlib.Path(folder, path.name)
            ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
            unfinished.write_bytes(safetensors.numpy.save(ordered, metadata))
            os.replace(unfinished, path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror or error}") from error


def _read_folder(folder: pathlib.Path) -> Stored:
    if find_checkpoint(Folder(folder)) is not None:
        return _read_checkpoint(Folder(folder))
    for name in (*FILES, keras_files.WEIGHTS):
        if (folder / name).is_file():
            return _read_local(folder / name, "")
    raise WeightsError(f"{folder} has no checkpoint, and no weights.safetensors")


def _read_checkpoint(folder: Folder) -> Stored:
    checkpoint = find_checkpoint(folder)
    if checkpoint is None:
        raise WeightsError(f"{folder} has no checkpoint; other files are read from a disk alone")
    try:
        variables = read_variables(checkpoint)
    except CheckpointError as error:
        raise WeightsError(str(error)) from error
    saved = read_about(checkpoint.parent)
    about: dict[str, Any] = {"config": saved.get("config", {})}
    if isinstance(about["config"].get("model"), dict):
        about["model"] = about["config"]["model"]
    if saved.get("source"):
        about["images"] = SourceInfo.from_json(saved["source"])
    return Stored(_flat(variables), about)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = prefix + key
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _read_safetensors(path: pathlib.Path) -> Stored:
    try:
        # first, because it reads no more than the header, and compares it with the file's length
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
        stored = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is damaged or cut short: {error}") from error
    tensors = {}
    for name, tensor in stored:
        if tensor["dtype"] not in _DTYPES:
            raise WeightsError(f"{path}: tensor {name} has the dtype {tensor['dtype']}")
        values = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]])
        tensors[name] = values.reshape(tensor["shape"])
    about = read_beside(path)
    if _METADATA_KEY in metadata:
        about |= _own_metadata(path, metadata[_METADATA_KEY])
    return Stored(unwrapped(tensors), about | _manifest_beside(path), path)


def _manifest_beside(path: pathlib.Path) -> dict[str, Any]:
    return _manifest(path.parent) if path.name in (WEIGHTS, keras_files.WEIGHTS) else {}


def _manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The network and the images in the manifest of an export; empty: the folder is no export.

    Raises:
        WeightsError: an export's manifest is missing or damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if any((folder / name).is_file() for name in (STABLEHLO, ONNX, TFLITE)):
            raise WeightsError(
                f"{folder} is an export without its {MANIFEST}, which describes its images and "
                "classes; export it again"
            )
        return {}
    try:
        manifest = read_json(path)
        if "function" not in manifest:  # of something else
            return {}
        about = {"images": images_of_manifest(manifest)}
        config = manifest.get("config")
        if config and not isinstance(config.get("model"), dict):
            raise ValueError("its config has no model")
    except (OSError, OverflowError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is not the manifest of an export: {error}") from error
    return about | ({"config": config, "model": config["model"]} if config else {})


def images_of_manifest(manifest: Mapping[str, Any]) -> SourceInfo:
    """Returns what the manifest of an export says of the images.

    Raises:
        ValueError: something is missing.
    """
    image = manifest.get("input", {})
    side, resize = image.get("size"), image.get("resize", {})
    crop = image.get("crop", side / resize["short_side"] if resize.get("short_side") else 0.0)
    name = (manifest.get("config") or {}).get("data", {}).get("name", OWN)
    return SourceInfo.from_json(
        {**image, "crop": crop, "classes": manifest.get("classes"), "name": name}
    )


def _own_metadata(path: pathlib.Path, text: Any) -> dict[str, Any]:
    try:
        about = parsed(text)
    except (TypeError, ValueError):
        about = None
    if (
        not isinstance(about, dict)
        or not isinstance(about.get("model", {}), dict)
        or about.get("channels", "RGB") not in ("RGB", "BGR")
    ):
        raise WeightsError(f"{path} is damaged: its metadata do not describe a network")
    known = {key: about[key] for key in ("channels",) if key in about}
    return {"model": about.get("model", {}), **known}
