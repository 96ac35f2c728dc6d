"""Readers of the package for `benchmarks.fuzz`, each with good input."""

import dataclasses
import io
import itertools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from ml_collections import ConfigDict
from PIL import Image

from fastscale_jax.arch import FAMILIES, resolve
from fastscale_jax.data.sources.csv_files import read_csv
from fastscale_jax.data.sources.images import as_evaluated, read_image
from fastscale_jax.interop.beside import read_beside
from fastscale_jax.interop.files import read as read_weights
from fastscale_jax.interop.load import of_stored
from fastscale_jax.interop.weights import to_library
from fastscale_jax.logs.records import read_metrics
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run


@dataclasses.dataclass(frozen=True)
class Reader:
    """A function that reads bytes, and good inputs for it."""

    name: str
    read: Callable[[bytes], object]
    corpus: Sequence[bytes]


def images(folder: pathlib.Path) -> Reader:
    """Image files, read as in `fastscale predict`."""
    del folder

    def read(content: bytes) -> object:
        return as_evaluated(read_image("it", content, max_pixels=1 << 22), 32, 0.875)

    return Reader("images", read, _pictures())


def image_folders(folder: pathlib.Path) -> Reader:
    """Image files, read as in training and evaluation: by TensorFlow, then by Pillow."""
    from fastscale_jax.data.sources.tensorflow_cpu import tf
    from fastscale_jax.data.sources.views import eval_view

    del folder
    view = eval_view(32, 0.875, exif=True, max_pixels=1 << 22)
    signature = tf.TensorSpec((), tf.string), tf.TensorSpec((2,), tf.int64)
    of_file = tf.function(view.of_file, input_signature=signature, autograph=False)
    no_seed = np.zeros(2, np.int64)

    def read(content: bytes) -> object:
        try:
            return of_file(content, no_seed)
        except tf.errors.OpError:
            return read_image("it", content, max_pixels=1 << 22)

    return Reader("image_folders", read, _pictures())


def safetensors_files(folder: pathlib.Path) -> Reader:
    """Weights in safetensors files; inputs that look like a pickle are read by PyTorch."""
    import h5py  # noqa: F401 # as for `torch_files`
    import torch  # noqa: F401 # or the first such input would be slow

    network, tensors = _small_network()
    about = {"fastscale_jax": json.dumps({"model": network.to_config().to_dict()})}
    good = (safetensors.numpy.save(tensors), safetensors.numpy.save(tensors, about))
    # a file with tiny tensors, so that most edits hit the header, which is what can be wrong
    short = safetensors.numpy.save({"a": np.zeros(2, np.float32), "b": np.ones(1, np.float16)})
    return Reader("safetensors", _weights_reader(folder / "x.safetensors"), (short, *good))


def torch_files(folder: pathlib.Path) -> Reader:
    """Weights in PyTorch's files, of both formats."""
    import h5py  # noqa: F401 # it runs `uname` when it is imported, whatever a file holds
    import torch

    _, tensors = _small_network()
    state = {name: torch.from_numpy(x) for name, x in itertools.islice(tensors.items(), 3)}
    good = []
    for content in (state, {"model_state": state, "cfg": "a: 1\n"}):
        for is_zip in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=is_zip)
            good.append(file.getvalue())
    return Reader("torch", _weights_reader(folder / "x.pth"), good)


def keras(folder: pathlib.Path) -> Reader:
    """Weights in Keras's files, of both kinds."""
    import h5py

    path, good = folder / "x.weights.h5", []
    newer = {f"layers/{name}/vars/{i}": 3 for name in ("dense", "normalization") for i in (0, 1)}
    older = {"block1a_dwconv/block1a_dwconv/depthwise_kernel:0": 9, "top_bn/top_bn/gamma:0": 8}
    for names in (newer, older):
        with h5py.File(path, "w") as file:
            for name, length in names.items():
                file[name] = np.ones(length, np.float32)
        good.append(path.read_bytes())
    return Reader("keras", _weights_reader(path), good)


def descriptions(folder: pathlib.Path) -> Reader:
    """The `config.json` beside weights."""
    path = folder / "config.json"

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return read_beside(folder / "x.safetensors")

    settings = {
        "input_size": [3, 224, 224],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.4, 0.5],
        "crop_pct": 0.9,
        "interpolation": "bicubic",
    }
    named = {"architecture": "regnety_004", "num_classes": 2, "label_names": ["a", "b"]}
    good = ({**named, "pretrained_cfg": settings}, settings)
    return Reader("descriptions", read, [json.dumps(content).encode() for content in good])


def metrics(folder: pathlib.Path) -> Reader:
    """A run's `metrics.jsonl`."""
    path = folder / "metrics.jsonl"

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return read_metrics(path)

    lines = ({"step": step, "epoch": 0.5, "loss": None, "test_loss": 1.5} for step in (1, 2, 3))
    return Reader("metrics", read, ["".join(json.dumps(x) + "\n" for x in lines).encode()])


def configs(folder: pathlib.Path) -> Reader:
    """A run's `config.json`."""
    path = folder / "config.json"

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return Run.of(read_config(str(path)))

    runs = (Run.of(read_config(name)).config for name in ("digits", "regnetz:500mf"))
    return Reader("configs", read, [json.dumps(run).encode() for run in runs])


def csv_lists(folder: pathlib.Path) -> Reader:
    """Lists of images."""
    (folder / "a.png").write_bytes(_pictures()[0])
    path = folder / "images.csv"

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return read_csv(path)

    return Reader("csv", read, (b"path,class\na.png,cat\n", b"a.png,cat,train\na.png,dog,val\n"))


def variants(folder: pathlib.Path) -> Reader:
    """Names of networks."""
    del folder

    def read(content: bytes) -> object:
        family, _, variant = content.decode("utf-8", "replace").partition(":")
        return Run.of(ConfigDict({**_recipe(), "model": resolve(family, variant)[0].to_config()}))

    names = ("dWr_16gf", "x2", "a0.6_x4", "d_400mf", "orig_phi3", "b0_dwr_x0.5", "dw_40mparams")
    corpus = [f"{family}:{name}".encode() for family in FAMILIES for name in ("", *names)]
    return Reader("variants", read, corpus)


def overrides(folder: pathlib.Path) -> Reader:
    """Overrides of keys on the command line."""
    del folder

    def read(content: bytes) -> object:
        override = content.decode("utf-8", "surrogateescape")
        return Run.of(read_config("regnetz:500mf", [override]))

    flat = Run.of(read_config("regnetz:500mf")).config
    sections = {key: value for key, value in flat.items() if isinstance(value, dict)}
    corpus = [
        f"--config.{section}.{key}={tuple(x) if isinstance(x, list) else x}".encode()
        for section, values in sections.items()
        for key, x in values.items()
    ]
    return Reader("overrides", read, corpus)


def _pictures() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6
    kinds = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
    files = [(image, kind, {}) for kind in kinds]
    files += [(image, "JPEG", {"progressive": True}), (image.convert("CMYK"), "JPEG", {})]
    files += [(image, kind, {"exif": exif}) for kind in ("PNG", "JPEG", "TIFF", "WEBP")]
    files += [(image, "TIFF", {"compression": name}) for name in ("tiff_lzw", "jpeg")]
    files += [(image.convert("P"), "PNG", {"transparency": 3})]
    files += [(image, "GIF", {"save_all": True, "append_images": [image.rotate(90)]})]
    written = []
    for picture, kind, options in files:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        written.append(file.getvalue())
    eps = io.BytesIO()
    image.save(eps, "EPS")
    return [*written, eps.getvalue()]


def _small_network() -> tuple[Any, dict[str, np.ndarray]]:
    """A network and its tensors, a few hundred kilobytes."""
    import jax

    from fastscale_jax.models import build

    network = Run.of(read_config("regnetz:dWr_x0.016", ["--config.model.num_classes=3"])).network
    side = (1, 32, 32, 3)
    shapes = jax.eval_shape(
        lambda: build(network).init(jax.random.key(0), np.zeros(side, np.float32), train=False)
    )
    variables = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), dict(shapes))
    return network, to_library("fastscale_jax", network, variables)


def _weights_reader(path: pathlib.Path) -> Callable[[bytes], object]:
    network, _ = _small_network()

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return of_stored(read_weights(path), path, network)

    return read


def _recipe() -> dict[str, Any]:
    return {key: x for key, x in read_config("regnetz").to_dict().items() if key != "model"}


READERS = (
    *(images, image_folders, safetensors_files, torch_files, keras, descriptions),
    *(configs, metrics, csv_lists, variants, overrides),
)
