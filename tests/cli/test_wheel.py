"""The wheel alone: every command that a first hour needs, in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.commands import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An empty folder, in which the commands run."""
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def fastscale(tmp_path_factory, empty):
    """Runs the wheel's command; returns what it prints on stdout, and on stderr."""
    sources, installed = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("installed")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, sources)
    for name in ("fastscale_jax", "configs"):  # a copy: setuptools leaves what it built behind
        shutil.copytree(REPOSITORY / name, sources / name)
    build = [sys.executable, "-m", "build", "--wheel", str(sources)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (sources / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(installed)
    # it comes before the repository, which this environment may have installed for development
    env = {**os.environ, "PYTHONPATH": str(installed)}
    program = (
        "import pathlib, fastscale_jax; from fastscale_jax.main import fastscale; "
        f"assert pathlib.Path(fastscale_jax.__file__).is_relative_to({str(installed)!r}); "
        "fastscale()"
    )

    def run(*arguments):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(
            command, cwd=empty, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def trained(fastscale):
    """The final metrics of a run of three epochs on digits."""
    epochs = "--config.train.epochs=3"
    said, _ = fastscale("train", "digits", epochs, "--workdir=runs/digits", "--format=json")
    return json.loads(said)


def test_it_trains_digits(trained, empty):
    assert trained["test_top1_error"] < 60  # of ten classes, after three epochs of forty
    assert (empty / "runs/digits/checkpoints").is_dir()


def test_a_workdir_is_enough_to_evaluate(fastscale, trained):
    said, _ = fastscale("eval", "--workdir=runs/digits", "--format=json")
    assert json.loads(said)["test_loss"] == pytest.approx(trained["test_loss"], rel=1e-5)


def test_a_workdir_is_enough_to_predict_and_to_export(fastscale, trained, empty):
    zero = (load_digits().images[0] * 255 / 16).astype("uint8")
    Image.fromarray(zero).save(empty / "zero.png")
    said, _ = fastscale("predict", "zero.png", "--workdir=runs/digits", "--format=json")
    assert len(json.loads(said)["predictions"]) == 1
    fastscale("export", "--workdir=runs/digits", "--output=exported")
    assert (empty / "exported/weights.safetensors").is_file()


def test_it_says_what_a_network_is_and_costs(fastscale):
    said, _ = fastscale("info", "regnetz:dWr_16gf", "--format=json")
    assert json.loads(said)["flops"] == 16_160_722_022
    assert "regnety:400mf" in fastscale("list", "regnety*")[0]


def test_it_writes_the_report(fastscale, empty):
    fastscale("report", "--output=report")
    assert "data:image/svg+xml" in (empty / "report/index.html").read_text("utf-8")


def test_a_name_that_could_be_a_file_says_which_it_took(fastscale, empty):
    own = empty / "digits.py"
    own.write_text("def get_config():\n    raise ValueError('mine')")
    _, said = fastscale("info", "digits")
    assert said == (
        "fastscale_jax: digits is the packaged recipe; write ./digits.py for your own file\n"
    )
