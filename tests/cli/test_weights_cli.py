"""Weights on the command line: to train from, to evaluate, to see images with, to export."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import safetensors.numpy
import torch
import torch.nn.functional as F
from PIL import Image

from fastscale_jax import arch
from fastscale_jax.data.pipeline import train_batches
from fastscale_jax.data.sources.source import load_source
from fastscale_jax.interop import torch_twin, weights
from fastscale_jax.interop.counterparts import COUNTERPARTS
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.load import save
from fastscale_jax.logs.records import read_metrics
from tests import commands
from tests.commands import REPOSITORY
from tests.passes import rule
from tests.train.tiny import tiny_config

METRICS = ("test_loss", "test_top1_error", "test_top5_error")
OF_BOTH = (*METRICS, *(f"ema_{name}" for name in METRICS))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Calls the command line with the config of `tests.train.tiny`, without randomness."""
    config = tmp_path_factory.mktemp("config") / "tiny.py"
    config.write_text(
        "from tests.train.tiny import tiny_config\n"
        "def get_config():\n"
        "    config = tiny_config()\n"
        "    config.model.update(dropout=0.0, stochastic_depth=0.0)\n"
        "    config.augment.update(shift=0.0, zoom=0.0)\n"
        "    config.train.log_every_steps = 1\n"
        "    return config\n"
    )

    return lambda *arguments: commands.run(f"--config={config}", *arguments)


def contents(folder: pathlib.Path) -> dict[str, tuple[int, int]]:
    files = sorted(folder.rglob("*"))
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def model(**changes):
    config = tiny_config().model
    config.update(dropout=0.0, stochastic_depth=0.0, **changes)
    return config


def state_dict(config):
    """Weights in the names of the reference, as in tests/golden/README.md."""
    names = tensors(arch.as_architecture(config), "pycls")
    return {t.name: rule(t.name, t.shape) for t in names}


@pytest.fixture(scope="module")
def twin():
    """The network in PyTorch. Its images are grey, so that the order of channels is all one."""
    built = torch_twin.build(model())
    own = {name: torch.from_numpy(x) for name, x in state_dict(model()).items()}
    built.load_state_dict({**built.state_dict(), **own})
    return built


@pytest.fixture(scope="module")
def released(tmp_path_factory, twin):
    """A checkpoint as the reference's training program leaves it."""
    path = tmp_path_factory.mktemp("released") / "model_epoch_0100.pyth"
    cfg = "BN:\n  EPS: 1.0e-05\nMODEL:\n  ACTIVATION_FUN: silu\n  TYPE: regnet\n"
    content = {"epoch": 99, "model_state": twin.state_dict(), "optimizer_state": {}, "cfg": cfg}
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run, released):
    """The workdir of a run of three steps from the released weights, and what it printed."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    begin = f"--config.init_from={released}"
    return workdir, run(f"--workdir={workdir}", "--config.train.steps=3", begin)


def torch_images(images):
    """Digits as the network takes them."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    resized = F.interpolate(pixels, (20, 20), mode="bilinear", align_corners=False)
    return (resized - 0.305) / 0.376


def digits():
    return load_source("digits", resolution=20, num_classes=10)


def json_of(result):
    """The one object that a command printed, where it succeeded."""
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


@pytest.mark.slow
def test_training_begins_with_the_given_weights(trained, released, twin):
    workdir, result = trained
    assert result.returncode == 0, result.stderr
    assert f"weights from {released}, in pycls's names\n" in result.stderr
    batch = next(train_batches(digits().train, 359, seed=0))
    with torch.no_grad():
        # a copy, because the pass changes the running statistics
        copied = torch_twin.build(model())
        copied.load_state_dict(twin.state_dict())
        logits = copied.train()(torch_images(batch.images))
    labels = torch.from_numpy(batch.labels).long()
    wanted = F.cross_entropy(logits, labels, label_smoothing=0.1).item()
    first = read_metrics(workdir / "metrics.jsonl")[0]
    assert first["step"] == 1
    assert first["train_loss"] == pytest.approx(wanted, rel=1e-4)
    assert abs(wanted - np.log(10)) > 0.05  # which random weights begin with


def test_eval_of_given_weights_is_what_pytorch_makes_of_them(run, released, twin):
    found = json_of(run("--mode=eval", f"--config.init_from={released}", "--format=json"))
    assert tuple(found) == ("network", "data", "weights", "images", "skipped", *METRICS)
    assert found["weights"] == f"{released}, in pycls's names"
    split = digits().test
    with torch.no_grad():
        logits = twin.eval()(torch_images(split.images))
    labels = torch.from_numpy(split.labels).long()
    loss = F.cross_entropy(logits, labels).item()
    assert found["test_loss"] == pytest.approx(loss, rel=1e-5)
    better = (logits > logits.gather(1, labels[:, None])).sum(1)
    for key, k in (("test_top1_error", 1), ("test_top5_error", 5)):
        assert found[key] == 100 * (better >= k).sum().item() / 360


@pytest.fixture(scope="module")
def exported(tmp_path_factory, run, trained):
    """The folder that a workdir was exported to, and what was printed."""
    folder = tmp_path_factory.mktemp("exported") / "new"
    place = (f"--workdir={trained[0]}", f"--output={folder}")
    return folder, run("--mode=export", *place, "--format=json")


@pytest.mark.slow
def test_an_export_names_its_files_in_one_object(exported):
    folder, result = exported
    found = json_of(result)
    assert found["network"] == model().name
    assert sorted(found["files"]) == sorted(str(path) for path in folder.iterdir())
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json",
        "model.jaxexport",
        "weights.safetensors",
    }


@pytest.mark.slow
def test_eval_is_the_same_from_the_workdir_and_from_its_export(run, trained, exported):
    workdir, _ = trained
    last = read_metrics(workdir / "metrics.jsonl")[-1]
    wanted = {key: last[key] for key in OF_BOTH}
    best = {f"best_{key}": last[key] for key in OF_BOTH}  # the only evaluation there was
    found = json_of(run("--mode=eval", f"--workdir={workdir}", "--format=json"))
    about = {"network": model().name, "data": "digits", "images": 360, "skipped": 0}
    assert found == {**about, "weights": f"{workdir}, step 3", "step": 3, **wanted, **best}
    averaged = {key: last[f"ema_{key}"] for key in METRICS}
    for origin in (exported[0] / "weights.safetensors", workdir):
        init_from = f"--config.init_from={origin}"
        found = json_of(run("--mode=eval", init_from, "--format=json"))
        assert found == {**about, "weights": str(origin), **averaged}


@pytest.mark.slow
def test_a_workdir_by_a_relative_path_is_the_same_workdir(run, trained):
    workdir, _ = trained
    last = read_metrics(workdir / "metrics.jsonl")[-1]
    relative = os.path.relpath(workdir, REPOSITORY)
    found = json_of(run("--mode=eval", f"--workdir={relative}", "--format=json"))
    assert {key: found[key] for key in OF_BOTH} == {key: last[key] for key in OF_BOTH}
    assert (found["step"], found["weights"]) == (3, f"{relative}, step 3")


@pytest.mark.slow
def test_a_run_that_goes_on_does_not_ask_for_the_weights_it_began_with(run, trained, tmp_path):
    workdir = shutil.copytree(trained[0], tmp_path / "run")
    last = read_metrics(workdir / "metrics.jsonl")[-1]
    config = json.loads((workdir / "config.json").read_text())
    config["init_from"] = f"{tmp_path}/gone.pth"
    (workdir / "config.json").write_text(json.dumps(config))
    for about in workdir.glob("checkpoints/*/about/metadata"):
        about.write_text(json.dumps({**json.loads(about.read_text()), "config": config}))
    missing = f"--config.init_from={tmp_path}/gone.pth"
    result = run(f"--workdir={workdir}", "--config.train.steps=3", missing, "--format=json")
    assert json_of(result) == {key: last[key] for key in OF_BOTH}
    assert "already trained for 3 steps" in result.stderr
    assert "gone.pth is not read again" in result.stderr


@pytest.mark.slow
def test_a_run_does_not_go_on_from_one_file_in_the_name_of_another(run, trained, released):
    result = run(f"--workdir={trained[0]}", "--config.init_from=another.pth")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "another recipe: config.init_from was " in result.stderr
    # of long paths the middle may be left out
    assert f"{pathlib.Path(released).name}' and is now '" in result.stderr
    assert "another.pth'; repeat" in result.stderr


@pytest.mark.slow
def test_a_run_of_other_classes_says_that_the_last_layer_starts_afresh(run, tmp_path):
    other = model(num_classes=7)
    path = tmp_path / "seven.safetensors"
    save(path, other, weights.from_pycls(other, state_dict(other)), "pycls")
    result = run(
        f"--workdir={tmp_path / 'run'}", "--config.train.steps=1", f"--config.init_from={path}"
    )
    assert result.returncode == 0, result.stderr
    assert (
        f"weights from {path}, in pycls's names; its last layer has another number of classes "
        "than 10, so a random one is used\n"
    ) in result.stderr
    # of a classifier near zero, whatever the layers before it make of the images
    first = read_metrics(tmp_path / "run" / "metrics.jsonl")[0]
    assert first["train_loss"] == pytest.approx(np.log(10), abs=0.02)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with three digits of the test split, and a file of words that is called an image."""
    folder = tmp_path_factory.mktemp("images")
    for i, pixels in enumerate(digits().test.images[:3]):
        Image.fromarray(pixels[..., 0]).save(folder / f"{i}.png")
    (folder / "words.jpg").write_text("no pixels")
    return folder


def torch_probabilities(twin):
    with torch.no_grad():
        logits = twin.eval()(torch_images(digits().test.images[:3]))
    return torch.softmax(logits.double(), 1).numpy()


def test_predict_says_as_json_what_pytorch_sees_and_what_cannot_be_read(
    run, released, images, twin
):
    weights_of = f"--config.init_from={released}"
    result = run("--mode=predict", weights_of, f"--input={images}", "--format=json")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"{images / 'words.jpg'} is not an image" in result.stderr
    assert result.stdout.count("\n") == 1
    found = json.loads(result.stdout)
    assert found["network"] == model().name
    assert found["weights"] == f"{released}, in pycls's names"
    assert [x["file"] for x in found["predictions"]] == [str(images / f"{i}.png") for i in range(3)]
    for prediction, wanted in zip(found["predictions"], torch_probabilities(twin), strict=True):
        order = np.argsort(-wanted)[:5]
        assert [guess["label"] for guess in prediction["top"]] == order.tolist()
        assert [guess["class"] for guess in prediction["top"]] == [str(i) for i in order]
        found_probabilities = [guess["probability"] for guess in prediction["top"]]
        np.testing.assert_allclose(found_probabilities, wanted[order], rtol=1e-4)


@pytest.mark.slow
def test_predict_prints_a_table_of_one_image(run, released, images, twin):
    file = images / "1.png"
    result = run("--mode=predict", f"--config.init_from={released}", f"--input={file}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{model().name}, weights from {released}, in pycls's names\n")
    rows = [line.strip("│").split("│") for line in result.stdout.splitlines() if line[0] == "│"]
    wanted = torch_probabilities(twin)[1]
    order = np.argsort(-wanted)[:5]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [str(file) if i == order[0] else "", str(i), f"{100 * wanted[i]:.1f}"] for i in order
    ]


class WantsToRun:
    """Pickled, it asks whoever reads it to make a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def place(tmp_path_factory, released):
    """A folder of everything that can be wrong."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copy(released, folder / "good.pyth")
    (folder / "cut.pyth").write_bytes(released.read_bytes()[:20_000])
    torch.save({"model_state": WantsToRun(folder / "made")}, folder / "hostile.pth")
    state = state_dict(model())
    del state["s2.b1.f.b.weight"]
    safetensors.numpy.save_file(state, folder / "missing.safetensors")
    (network,) = (c for c in COUNTERPARTS if (c.package, c.name) == ("timm", "regnetx_002"))
    other = {t.name: np.zeros(t.shape, np.float32) for t in tensors(network.architecture(), "timm")}
    safetensors.numpy.save_file(other, folder / "regnetx.safetensors")
    seven = model(num_classes=7)
    save(folder / "seven.safetensors", seven, weights.from_pycls(seven, state_dict(seven)))
    (folder / "empty").mkdir()
    (folder / "words.jpg").write_text("no pixels")
    Image.new("RGB", (9, 8)).save(folder / "black.png")
    return folder


SEEN = "--mode=predict --input={place}/black.png"
WRITTEN = "--mode=export --output={place}/out"
HINT = "they are those of regnetx_002 in timm's names, which is --config=regnetx:200mf"
# what is given: what the one line on stderr must say
BAD_INPUT = {
    "--mode=eval --config.init_from={place}/none.pth": ["{place}/none.pth", "No such file"],
    "--mode=eval --config.init_from={place}/cut.pyth": ["{place}/cut.pyth", "damaged or cut short"],
    "--mode=eval --config.init_from={place}/seven.safetensors": [
        "{place}/seven.safetensors",
        "another number of classes: params.head.fc.bias has 7",
    ],
    "--mode=train --workdir={place}/new --config.init_from={place}/regnetx.safetensors": [
        "/regnetx.safetensors: these are not the weights of",  # the folder's name is cut short
        HINT,
    ],
    "--mode=train --workdir={place}/new --config.init_from={place}/hostile.pth": [
        "{place}/hostile.pth asks for posix.mkdir"
    ],
    SEEN: ["no weights", "--workdir", "--config.init_from"],
    f"{SEEN} --workdir={{place}}/new": ["no workdir {place}/new"],
    f"{SEEN} --config.init_from={{place}}/missing.safetensors": [
        "{place}/missing.safetensors",
        "s2.b1.f.b.weight is missing",
    ],
    "--mode=predict --config.init_from={place}/good.pyth": ["needs --input"],
    "--mode=predict --input={place}/none --config.init_from={place}/good.pyth": [
        "no image or folder {place}/none"
    ],
    "--mode=predict --input={place}/words.jpg --config.init_from={place}/good.pyth": [
        "{place}/words.jpg is not an image"
    ],
    "--mode=export --config.init_from={place}/good.pyth": ["needs --output"],
    f"{WRITTEN} --config.init_from={{place}}/cut.pyth": ["{place}/cut.pyth", "cut short"],
    f"{WRITTEN} --config.init_from={{place}}/good.pyth --names=timm": ["timm has no network like"],
    "--mode=export --output={place}/words.jpg/out --config.init_from={place}/good.pyth": [
        "{place}/words.jpg/out",
        "cannot be written",
    ],
}


@pytest.mark.parametrize("arguments", BAD_INPUT)
def test_bad_input_gets_one_line_and_nothing_is_written(run, place, arguments):
    before = contents(place)
    result = run(*(argument.format(place=place) for argument in arguments.split()))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("fastscale_jax: ")
    for words in BAD_INPUT[arguments]:
        assert words.format(place=place) in result.stderr
    assert contents(place) == before
