"""Feeds readers with damaged and hostile input, made of good files by random edits.

python -m benchmarks.fuzz --seconds=60
python -m benchmarks.fuzz --examples=1000 --only=variants,overrides

A reader may refuse its input with a `ValueError` of at most one line. Anything else is a finding:
another exception, a program that is started, an input that takes longer than twenty seconds. The
first finding of each reader is written to --findings, and the exit status is then 1.
"""

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn
from unittest import mock

import numpy as np
import safetensors.numpy
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from PIL import Image

from fastscale_jax.arch import FAMILIES, resolve
from fastscale_jax.data.sources.csv_files import read_csv
from fastscale_jax.data.sources.images import as_evaluated, read_image
from fastscale_jax.interop.files import read as read_weights
from fastscale_jax.interop.load import of_stored
from fastscale_jax.interop.weights import to_library
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.console import MOST_CHARACTERS, in_a_line

LONGEST = 20  # seconds for one input
# what parsers stumble over: sizes at the edges of integers, numbers that are none, nesting, signs
TOKENS = (
    *(n.to_bytes(4, order) for n in (2**16, 2**31 - 1, 2**32 - 1) for order in ("little", "big")),
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"NaN", b"-Infinity", b"1e999", b"9" * 40, b"-1", b"0"),
    *(b"null", b"true", b'""', b"[]", b"{}", b"[" * 2000, b'{"a":' * 500, b"(1,", b"=", b"_x"),
    *("٤".encode(), b"\x1b[31m", "\u202e".encode(), b"../", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
)


class ProgramStartedError(Exception):
    """A reader starts another program."""


class TooSlowError(Exception):
    """A reader takes longer than `LONGEST`."""


class _TimeIsUp(BaseException):
    """Ends Hypothesis, which has no limit in seconds; it catches every `Exception`."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """Something that reads bytes, and good ones to begin with."""

    name: str
    read: Callable[[bytes], object]
    corpus: Sequence[bytes]


def images(folder: pathlib.Path) -> Reader:
    """Image files, as `fastscale predict` reads them."""
    del folder

    def read(content: bytes) -> object:
        return as_evaluated(read_image("it", content, max_pixels=1 << 22), 32, 0.875)

    return Reader("images", read, _pictures())


def image_folders(folder: pathlib.Path) -> Reader:
    """Image files, as training and evaluation read them: with TensorFlow, and then with Pillow."""
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
    """Weights in safetensors files; what looks like a pickle goes to PyTorch."""
    import torch  # noqa: F401 # or the first such input would be slow

    network, tensors = _small_network()
    about = {"fastscale_jax": json.dumps({"model": network.to_config().to_dict()})}
    good = (safetensors.numpy.save(tensors), safetensors.numpy.save(tensors, about))
    # the header is short beside the tensors, and is what can go wrong
    short = safetensors.numpy.save({"a": np.zeros(2, np.float32), "b": np.ones(1, np.float16)})
    return Reader("safetensors", _weights_reader(folder / "x.safetensors"), (short, *good))


def torch_files(folder: pathlib.Path) -> Reader:
    """Weights in PyTorch's files, of both formats."""
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


READERS = (
    *(images, image_folders, safetensors_files, torch_files),
    *(configs, csv_lists, variants, overrides),
)


def fuzz(reader: Reader, seconds: float, examples: int, start: int) -> tuple[int, bytes, str]:
    """Feeds a reader until the time is up, or with so many inputs.

    Args:
        reader: of bytes.
        seconds: to go on for.
        examples: inputs at most.
        start: of the random numbers.

    Returns:
        How many inputs it was given; and the first that it neither read nor refused, with what
        happened, both empty where there is none.
    """
    end, count, found = time.monotonic() + seconds, 0, (b"", "")

    @seed(start)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
    )
    @given(content=_edited(reader.corpus))
    def feed(content: bytes) -> None:
        nonlocal count, found
        if time.monotonic() > end:
            raise _TimeIsUp
        count += 1
        problem = problem_with(reader, content)
        if problem:
            found = content, problem
            raise _TimeIsUp

    with contextlib.suppress(_TimeIsUp), _without_chatter():
        feed()
    return count, *found


def problem_with(reader: Reader, content: bytes) -> str:
    """Returns what is wrong with how a reader takes some bytes; empty: it reads or refuses them."""
    try:
        with _watched():
            reader.read(content)
    except ValueError as error:
        line = in_a_line(str(error))
        return "" if line.isprintable() and len(line) <= MOST_CHARACTERS else f"it says {line!r}"
    except Exception:
        return traceback.format_exc(limit=-4)
    return ""


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Raises where a program is started, or the time for one input is up."""

    def refuse(*arguments: Any, **_: Any) -> NoReturn:
        raise ProgramStartedError(f"{arguments}")

    def give_up(*_: Any) -> NoReturn:
        raise TooSlowError(f"longer than {LONGEST} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST)
    try:
        with mock.patch.object(subprocess.Popen, "__init__", refuse), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Drops what C libraries write to stderr about each damaged file."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _edited(corpus: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Good inputs with some bytes replaced, left out, inserted or repeated; or any bytes at all."""
    piece = st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8))
    # most of what a file says of itself stands at its beginning
    place = st.one_of(st.integers(0, 200), st.integers(0, 1 << 20))
    edit = st.tuples(st.sampled_from(("replace", "insert", "cut", "repeat", "end")), place, piece)
    edits = st.lists(edit, min_size=1, max_size=6)
    return st.one_of(st.builds(_apply, st.sampled_from(corpus), edits), st.binary(max_size=64))


def _apply(content: bytes, edits: Sequence[tuple[str, int, bytes]]) -> bytes:
    for kind, place, piece in edits:
        at = place % (len(content) + 1)
        before, after = content[:at], content[at:]
        content = {
            "replace": before + piece + after[len(piece) :],
            "insert": before + piece + after,
            "cut": before + after[len(piece) :],
            "repeat": before + after[: len(piece)] * 9 + after,
            "end": before,
        }[kind]
    return content


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


def main() -> int:
    """Fuzzes the readers, prints a line for each, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for all readers together")
    parser.add_argument("--examples", type=int, default=10**9, help="for each reader, at most")
    parser.add_argument("--only", default="", help="names of readers, with commas between them")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--findings", type=pathlib.Path, default=pathlib.Path("findings"))
    arguments = parser.parse_args()
    chosen = [make for make in READERS if not arguments.only or make.__name__ in arguments.only]
    bad, each = 0, arguments.seconds / max(1, len(chosen))
    print(f"--seed={arguments.seed}")
    for make in chosen:
        with tempfile.TemporaryDirectory() as folder:
            reader = make(pathlib.Path(folder))
            count, content, problem = fuzz(reader, each, arguments.examples, arguments.seed)
        print(f"{reader.name:14} {count:8,} inputs", flush=True)
        if problem:
            bad += 1
            arguments.findings.mkdir(parents=True, exist_ok=True)
            path = arguments.findings / f"{reader.name}.bin"
            path.write_bytes(content)
            print(f"{reader.name}: {path}\n{problem}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
