"""Image files of people who mean harm: no program is started, no memory taken by a header."""

import io
import os
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

import fastscale_jax
from benchmarks import hostile_images
from fastscale_jax.cli.predict_command import _stdin
from fastscale_jax.data.pipeline import eval_batches
from fastscale_jax.data.sources.conventions import MAX_PIXELS, MOST_PIXELS
from fastscale_jax.data.sources.examples import as_image
from fastscale_jax.data.sources.images import formats, most_bytes, read_image
from fastscale_jax.data.sources.source import load_source
from fastscale_jax.data.sources.tensorflow_cpu import tf
from fastscale_jax.data.sources.views import eval_view, train_view
from tests.data.photos import CLASSES, encoded, photo, write_folder

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
PHOTO = photo(0, 50, 60)
# formats that Pillow writes, and would read, beside those that we document
OTHERS = ("DDS", "EPS", "ICNS", "ICO", "JPEG2000", "MSP", "PCX", "SGI", "SPIDER", "TGA", "XBM")


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program called gs that comes first, and the file that it writes when it is started."""
    log, folder = tmp_path / "started", tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\necho $@ >> {log}\nexit 1\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_no_program_is_started_no_pipe_waited_for_and_no_endless_file_read(tmp_path, ghostscript):
    root = write_folder(tmp_path / "photos", train=1, test=4)
    source = load_source("folder", directory=str(root), resolution=24, num_classes=2, workers=2)
    postscript, long, pipe = (root / "val" / CLASSES[0] / f"00{i}.JPEG" for i in range(3))
    postscript.write_bytes(POSTSCRIPT)
    with long.open("ab") as file:
        file.truncate(most_bytes(MAX_PIXELS) + 1)  # a hole, which takes no room on the disk
    pipe.unlink()
    os.mkfifo(pipe)  # since it was listed
    for path, reason in (
        (postscript, "its format is none of BMP, GIF, JPEG"),
        (long, r"it has 6\d\d,\d+,\d+ bytes, and an image of 67,108,864 pixels"),
        (pipe, "it is not a file but a pipe, a socket or a device"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_image(path)
    with pytest.raises(ValueError, match="none of BMP, GIF, JPEG"):
        as_image(POSTSCRIPT)
    (batch,) = eval_batches(source.test, 8)
    np.testing.assert_array_equal(batch.mask, [False] * 3 + [True] * 5)
    assert not ghostscript.exists()


@pytest.mark.parametrize("kind", OTHERS)
def test_formats_that_are_not_documented_are_not_read(kind):
    mode = {"MSP": "1", "XBM": "1", "SPIDER": "F"}.get(kind, "RGB")
    content = encoded(PHOTO.convert(mode), kind)
    Image.open(io.BytesIO(content))  # Pillow would
    with pytest.raises(ValueError, match="its format is none of BMP, GIF, JPEG, PNG, PPM, TIFF"):
        read_image("x.png", content)


def test_what_is_documented_is_what_is_read():
    manual = (pathlib.Path(__file__).parents[2] / "docs" / "data.md").read_text()
    sentence = next(line for line in manual.splitlines() if line.startswith("The formats are"))
    assert {*re.findall("[A-Z]{3,}", sentence)} == {*formats(), "AVIF", "HEIF"}


def test_pillow_is_asked_to_open_files_in_one_place():
    package = pathlib.Path(fastscale_jax.__file__).parent
    places = [
        (path.name, line.strip())
        for path in package.rglob("*.py")
        for line in path.read_text().splitlines()
        if "Image.open(" in line
    ]
    line = "with Image.open(io.BytesIO(content), formats=formats()) as image:"
    assert places == [("images.py", line)]


KINDS = {"JPEG": {}, "PNG": {}, "GIF": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {}}


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_more_pixels_than_the_key_allows_are_refused(kind):
    content = encoded(PHOTO, kind)
    assert read_image("x", content, max_pixels=3000).size == (60, 50)
    with pytest.raises(ValueError, match=r"too large: .* 2,999 pixels of --config\.data\.max_pix"):
        read_image("x", content, max_pixels=2999)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_tensorflow_decodes_no_larger_images_than_pillow(kind):
    content, seed = encoded(PHOTO, kind), tf.constant([3, 4], tf.int64)
    for view in (train_view, lambda *more, **options: eval_view(*more, 0.875, **options)):
        view(32, exif=True, max_pixels=3000).of_file(content, seed)
        with pytest.raises(tf.errors.InvalidArgumentError):
            view(32, exif=True, max_pixels=2999).of_file(content, seed)


def huge_png(side):
    """A PNG of a few bytes whose header claims `side` by `side` pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + bytes(4)

    def with_sum(kind, content):
        return chunk(kind, content)[:-4] + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + with_sum(b"IHDR", header) + with_sum(b"IDAT", b"x")


def huge_gif():
    content = bytearray(encoded(PHOTO, "GIF"))
    content[6:10] = b"\xff\xff\xff\xff"  # of the whole canvas
    return bytes(content)


@pytest.mark.parametrize("content", [huge_png(13_000), huge_gif()], ids=["PNG", "GIF"])
def test_a_header_alone_takes_no_memory(content, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", None)  # would take it
    with pytest.raises(ValueError, match=r"too large|exceeds"):
        read_image("x", content)
    with pytest.raises(tf.errors.InvalidArgumentError):
        eval_view(32, 0.875, exif=True).of_file(content, tf.zeros(2, tf.int64))


def test_pillow_s_own_limit_is_the_most_that_the_key_may_be():
    assert Image.MAX_IMAGE_PIXELS == MOST_PIXELS // 2
    assert MAX_PIXELS < MOST_PIXELS


def test_an_endless_stdin_is_read_to_the_limit_alone(monkeypatch):
    class Endless:
        def isatty(self):
            return False

        @property
        def buffer(self):
            return self

        def read(self, most=-1):
            assert most == 1001
            return bytes(most)

    monkeypatch.setattr("sys.stdin", Endless())
    assert len(_stdin(1000)) == 1001


def test_the_benchmark_makes_two_hundred_files(tmp_path):
    kinds = hostile_images.make(tmp_path, unfolded=(50, 60))
    names = {name for _, *lists in os.walk(tmp_path) for name in (*lists[0], *lists[1])}
    assert kinds.total() == len(names - {"special"}) == 200
