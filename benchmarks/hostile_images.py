"""Runs `fastscale predict` and `fastscale eval` on a folder of 200 hostile files.

python -m benchmarks.hostile_images --output=hostile.json

For each command it records exit status, seconds, the longest silence on stderr, peak memory, the
number of lines on stderr and the last ones, and the number of calls of Ghostscript, by a script of
that name on the path.
"""

import argparse
import collections
import io
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance

COUNT = 200
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WebP", "tif": "TIFF"}
OTHERS = ("EPS", "ICO", "ICNS", "PCX", "SGI", "TGA", "PDF", "DDS")  # Pillow reads or writes them
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n"
SIDES = (13_000, 30_000, 65_535, 1_000_000, 2**31 - 1)


def main() -> None:
    """Makes the files, runs both commands, and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", required=True, help="a JSON file")
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as place:
        root = pathlib.Path(place)
        classes = [root / "data" / "val" / f"n{i}" for i in range(10)]
        for folder in (*classes, *(root / "data" / "train" / f.name for f in classes)):
            folder.mkdir(parents=True)
            (folder / "good.png").write_bytes(_encoded(0, "PNG"))
        kinds = make(classes[0])
        weights = root / "small.safetensors"
        model = ["--config.model.num_classes=10", "--config.model.resolution=32"]
        network = ["--config=regnetz:dWr_x0.016", *model, f"--config.init_from={weights}"]
        _export(weights, model)
        data = ["--config.data.name=folder", f"--config.data.dir={root / 'data'}"]
        data += ["--config.data.batch_size=8"]
        results = {
            "files": dict(kinds),
            "predict": watched(["predict", str(classes[0]), *network], root),
            "eval": watched(["eval", *network, *data], root),
            **provenance(describe()),
        }
    pathlib.Path(output).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


def make(
    folder: pathlib.Path, unfolded: Sequence[int] = (13_000, 20_000)
) -> collections.Counter[str]:
    """Makes the files in an empty folder; returns the number of each kind.

    Args:
        folder: existing folder.
        unfolded: sides of images that are small as files but large in memory, pixels.
    """
    kinds: collections.Counter[str] = collections.Counter()
    for number, (kind, ending, content) in enumerate(_contents(unfolded)):
        (folder / f"{number:03}-{kind.replace(' ', '-')}.{ending}").write_bytes(content)
        kinds[kind] += 1
    special = folder / "special"
    special.mkdir()
    for i in range(2):
        os.mkfifo(special / f"pipe{i}.jpg")
        with (special / f"hole{i}.png").open("wb") as file:
            file.truncate(100 * 10**9)
    targets = ("/dev/zero", "/dev/random", "/dev/stdin", "..", ".", str(folder), "nothing")
    for i, target in enumerate((*targets, f"link{len(targets)}.jpg")):  # the last to itself
        (special / f"link{i}.jpg").symlink_to(target)
    (special / "folder.jpg").mkdir()
    kinds.update({"pipe": 2, "hole of 100 GB": 2, "link": len(targets) + 1, "folder": 1})
    for number in range(COUNT - kinds.total()):  # the rest are images with flipped bits
        rng = random.Random(number)
        content = bytearray(_encoded(number, (*FORMATS.values(),)[number % len(FORMATS)]))
        for _ in range(8):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (folder / f"flipped{number:03}.{(*FORMATS,)[number % len(FORMATS)]}").write_bytes(content)
        kinds["bits turned round"] += 1
    return kinds


def _contents(unfolded: Sequence[int]) -> Iterator[tuple[str, str, bytes]]:
    """The kind, the ending and the bytes of each file."""
    for ending in FORMATS:
        yield "PostScript", ending, POSTSCRIPT
        yield "PDF", ending, PDF
        yield "nothing", ending, b""
        yield "text", ending, b"an image\n" * 99
    for kind in OTHERS:
        yield f"as {kind}", "jpg", _encoded(1, kind)
    for side in SIDES:
        for content in (_png_header(side), _gif_header(side), _bmp_header(side)):
            yield "header of any size", "png", content
    for side in unfolded:
        yield "png that unfolds", "png", _png_of_zeros(side)
    for ending, kind in FORMATS.items():
        whole = _encoded(2, kind)
        for share in (0.05, 0.3, 0.6, 0.9, 0.99):
            yield "cut short", ending, whole[: int(share * len(whole))]


def _encoded(seed: int, kind: str) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _png_header(side: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(
        b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    )


def _png_of_zeros(side: int) -> bytes:
    rows = zlib.compressobj()
    data = b"".join(rows.compress(bytes(3 * side + 1)) for _ in range(side)) + rows.flush()
    return _png_header(side) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _gif_header(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", side % 65_536, side % 65_536) + b"\0\0\0,"


def _bmp_header(side: int) -> bytes:
    about = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + about


def _export(weights: pathlib.Path, model: list[str]) -> None:
    """Trains a small network for a step and writes its weights, without their origin."""
    workdir, exported = weights.with_name("run"), weights.with_name("exported")
    train = ["--config=regnetz:dWr_x0.016", *model, "--config.data.name=synthetic"]
    train += ["--config.train.steps=1", "--config.bn.precise_images=0", "--config.augment.policy="]
    train += ["--config.data.batch_size=16", f"--workdir={workdir}"]
    for arguments in (
        ["train", *train],
        ["export", f"--workdir={workdir}", f"--output={exported}"],
    ):
        subprocess.run([_COMMAND, *arguments], check=True, capture_output=True)
    (exported / "weights.safetensors").rename(weights)


_COMMAND = str(pathlib.Path(sys.executable).with_name("fastscale"))


def watched(arguments: list[str], root: pathlib.Path) -> dict[str, object]:
    """Runs a command and returns its measurements."""
    log, tools = root / "started", root / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "gs").write_text(f"#!/bin/sh\necho gs >> {log}\nexit 1\n")
    (tools / "gs").chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    started = last = time.monotonic()
    said, silence = b"", 0.0
    with subprocess.Popen(
        [_COMMAND, *arguments], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        stderr = process.stderr.fileno() if process.stderr else -1
        while part := os.read(stderr, 1 << 16):
            now = time.monotonic()
            said, silence, last = said + part, max(silence, now - last), now
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "status": process.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "longest_silence_seconds": round(silence, 1),
        "peak_gb": round(used.ru_maxrss / 1e6, 2),  # of Linux, in kilobytes
        "lines": len(said.decode(errors="replace").splitlines()),
        "last_line": said.decode(errors="replace").splitlines()[-1:],
        "programs_started": len(log.read_text().splitlines()) if log.exists() else 0,
    }


if __name__ == "__main__":
    main()
