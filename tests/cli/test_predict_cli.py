"""`fastscale predict`: several inputs, stdin, vectors, and what it says of bad input."""

import io
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from fastscale_jax import arch
from fastscale_jax.cli.application import main
from fastscale_jax.cli.options import Session
from fastscale_jax.data.sources.images import formats
from fastscale_jax.interop import weights
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.load import save
from tests.passes import rule
from tests.train.tiny import tiny_config

NO_IMAGE = f"is not an image that can be read: its format is none of {', '.join(formats())}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, weights and a recipe."""
    folder = tmp_path_factory.mktemp("place")
    config = tiny_config().model
    names = tensors(arch.as_architecture(config), "pycls")
    state = {t.name: rule(t.name, t.shape) for t in names}
    save(folder / "weights.safetensors", config, weights.from_pycls(config, state), "pycls")
    recipe = "from tests.train.tiny import tiny_config as get_config\n"
    (folder / "tiny.py").write_text(recipe)
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        name = folder / "images" / ("deep" if i == 2 else "") / f"{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name, exif=exif)
    (folder / "images" / "notes.txt").write_text("mine")
    (folder / "words.jpg").write_text("no pixels")
    (folder / "hidden").mkdir()
    (folder / "hidden" / ".a.png").write_bytes(b"")
    return folder


@pytest.fixture
def predict(place, monkeypatch, capsys):
    """Runs the command in this process; returns its status, stdout and lines of stderr."""
    monkeypatch.setattr(Session, "start", lambda self, **_: None)

    def call(*arguments, stdin=b""):
        file = types.SimpleNamespace(buffer=io.BytesIO(stdin), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", file)
        own = f"--config={place}/tiny.py", f"--config.init_from={place}/weights.safetensors"
        status = main(["predict", *(x.format(place=place) for x in arguments), *own])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return call


def test_several_images_folders_and_stdin_are_seen_in_one_call_in_order(predict, place):
    stdin = (place / "images" / "1.png").read_bytes()
    inputs = "{place}/images/1.png", "-", "{place}/words.jpg", "{place}/images"
    status, out, err = predict(*inputs, "--top=2", "--format=json", stdin=stdin)
    assert status == 2
    assert err == [
        "fastscale_jax: passed over 1 file that is no image (.txt)",
        f"fastscale_jax: {place}/words.jpg {NO_IMAGE}",
    ]
    assert out.count("\n") == 1
    found = json.loads(out)["predictions"]
    images = [f"{place}/images/{name}" for name in ("0.png", "1.png", "deep/2.png")]
    assert [x["file"] for x in found] == [images[1], "-", *images]
    assert all(len(x["top"]) == 2 for x in found)
    assert found[0]["top"] == found[1]["top"] == found[3]["top"]
    assert found[2]["top"] != found[3]["top"]


def test_vectors_are_written_of_what_can_be_read_turned_or_not_as_the_recipe_says(
    predict, place, tmp_path
):
    inputs = "{place}/words.jpg", "{place}/images/0.png"
    vectors = {}
    for exif in ("true", "false"):
        output = f"--embed={tmp_path}/{exif}.npy"
        status, out, err = predict(*inputs, output, f"--config.data.exif={exif}")
        assert (status, len(err)) == (2, 1)
        assert f"{tmp_path}/{exif}.npy: 1 x " in out
        assert json.loads((tmp_path / f"{exif}.json").read_text()) == [f"{place}/images/0.png"]
        vectors[exif] = np.load(tmp_path / f"{exif}.npy")
    assert vectors["true"].dtype == np.float32
    assert not np.array_equal(vectors["true"], vectors["false"])
    status, out, err = predict("{place}/words.jpg", f"--embed={tmp_path}/none.npy")
    assert (status, out, len(err)) == (2, "", 1)
    assert {file.name for file in tmp_path.iterdir()} == {
        *("true.npy", "true.json", "false.npy", "false.json")
    }


BAD_INPUT = {
    "-": "- reads an image from stdin, but stdin is empty",
    "- --input=-": "- is given twice",
    "{place}/images --top=0": "--top must be at least 1; got 0",
    "{place}/hidden": "{place}/hidden has no image (",
    "{place}/images --embed={place}/none/v.npy": "there is no folder {place}/none",
    "{place}/images --embed={place}/words.jpg/v.npy": "there is no folder {place}/words.jpg",
    "{place}/images --embed={place}/images": "--embed must be a file to write, called .npy",
    "{place}/images --embed={place}/v.txt": "--embed must be a file to write, called .npy",
    "--input=": "predict needs --input",
    "{place}/images --tpo=3": "--tpo",
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_gets_one_line(predict, place, arguments):
    status, out, err = predict(*arguments.replace("- --input=-", "- -").split())
    assert (status, out, len(err)) == (2, "", 1), err
    assert BAD_INPUT[arguments].format(place=place) in err[0]


def test_words_on_stdin_are_no_image(predict):
    status, out, err = predict("-", stdin=b"words")
    assert (status, out) == (2, "")
    assert err == [f"fastscale_jax: - {NO_IMAGE}"]
