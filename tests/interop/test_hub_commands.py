"""Weights by name wherever weights are taken: in Python, and in each command that has a network."""

import io
import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from flax.traverse_util import flatten_dict
from PIL import Image

import fastscale_jax as fs
from fastscale_jax.arch import Architecture, as_architecture
from fastscale_jax.checkpoints.saved import find_checkpoint, read_models
from fastscale_jax.checkpoints.stores import Folder
from fastscale_jax.cli.application import main
from fastscale_jax.cli.options import Session
from fastscale_jax.interop import weights
from fastscale_jax.interop.layout import tensors
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.runs.start import load_to_start
from tests.interop.hub_server import Hub, connected
from tests.passes import rule

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.usefixtures("compiled_quickly")

# a network of each: the smallest that timm has weights of; and one that is quick to compile
NAMED, DEFAULT = "regnety:200mf", "hf:timm/regnety_002.pycls_in1k"
TINY, SIDE = "regnety:dWr_x0.016", 17
FLAGS = f"--config={TINY}", f"--config.model.resolution={SIDE}", "--config.model.depths=1,1,1,1"
OURS, ABOUT, TORCH = "hf:me/tiny", "hf:me/described@v2", "hf:me/torch"
NOTE = {
    "num_classes": 10,
    "label_names": [str(i) for i in range(10)],
    "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.4] * 3, "license": "mit"},
}
SAID = "followed: mean (0.5, 0.5, 0.5), std (0.4, 0.4, 0.4), the names of 10 classes"


def tiny() -> Architecture:
    config = fs.model_config(TINY)
    config.update(resolution=SIDE, num_classes=10, depths=(1, 1, 1, 1))
    return as_architecture(config)


def timm_s(a: Architecture, factor: float = 1.0) -> dict[str, np.ndarray]:
    return {t.name: factor * rule(t.name, t.shape) for t in tensors(a, "timm")}


def torch_file(content: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def repositories():
    """The files of each repository: made once, because they are large."""
    a = tiny()
    plain, average = (
        {k: torch.from_numpy(x) for k, x in timm_s(a, factor).items()} for factor in (1.0, 0.5)
    )
    both = torch_file({"state_dict": plain, "state_dict_ema": average, "epoch": 3})
    named = timm_s(as_architecture(fs.model_config(NAMED)))
    file = safetensors.numpy.save(timm_s(a))
    return {
        DEFAULT.removeprefix("hf:"): {"model.safetensors": safetensors.numpy.save(named)},
        "me/tiny": {"model.safetensors": file},
        "me/described": {"model.safetensors": file, "config.json": json.dumps(NOTE).encode()},
        "me/torch": {"pytorch_model.bin": both, "runs/last.pth": both},
    }


@pytest.fixture
def hub(tmp_path, monkeypatch, repositories):
    """A hub, an empty cache, and commands that run in this process."""
    monkeypatch.setattr(Session, "start", lambda self, **_: None)
    served = Hub(repositories, branches=("main", "v2"))
    with connected(monkeypatch, tmp_path / "cache", served):
        yield served


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def run(capsys, command: str, *arguments: object) -> dict[str, Any]:
    assert main([command, *map(str, arguments), "--format=json"]) == 0
    return json.loads(capsys.readouterr().out)


def assert_weights(variables: Any, factor: float = 1.0) -> None:
    """They are the repository's, every one."""
    wanted = flatten_dict(weights.from_timm(tiny(), timm_s(tiny(), factor)))
    found = flatten_dict(variables)
    assert found.keys() == wanted.keys()
    for key, values in found.items():
        np.testing.assert_array_equal(values, wanted[key])


def test_a_network_by_name_takes_timm_s_default_weights(hub, monkeypatch):
    wanted = timm_s(as_architecture(fs.model_config(NAMED)))
    model, variables = fs.create_model(NAMED, weights="timm")
    assert model.architecture.num_classes == 1000
    kernel = variables["params"]["head"]["fc"]["kernel"]
    np.testing.assert_array_equal(kernel, wanted["head.fc.weight"].T)
    assert any("/timm/regnety_002.pycls_in1k/" in request for request in hub.asked)

    # from now on it is in the cache
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, tuned = fs.create_model(NAMED, weights="timm", num_classes=3)
    assert tuned["params"]["head"]["fc"]["kernel"].shape == (368, 3)
    np.testing.assert_array_equal(
        tuned["params"]["stem"]["conv"]["kernel"], variables["params"]["stem"]["conv"]["kernel"]
    )
    with pytest.raises(ValueError, match=r"regnety_004\.tv2_in1k is not in the cache"):
        fs.create_model("regnety:400mf", weights="timm")


def test_a_run_begins_with_timm_s_default_weights(hub):
    flags = ["--config.init_from=timm", "--config.data.name=digits"]
    recipe = read_config(f"finetune:{NAMED}", flags)
    assert f"weights from {DEFAULT}, in timm's names" in load_to_start(Run.of(recipe)).note


def test_python_takes_a_name_with_a_revision_and_a_key(hub):
    for name, factor in ((ABOUT, 1.0), (TORCH, 1.0), (f"{TORCH}#ema", 0.5)):
        _, variables = fs.create_model(tiny(), weights=name)
        assert_weights(variables, factor)
    chosen = f"{TORCH}/runs/last.pth@v2#state_dict_ema"
    assert_weights(fs.load(chosen, tiny()).variables, 0.5)
    with pytest.raises(
        ValueError, match=r"no weights under 'mean'; it has state_dict, state_dict_"
    ):
        fs.create_model(tiny(), weights=f"{TORCH}#mean")
    with pytest.raises(ValueError, match="holds one network; #ema is for PyTorch files"):
        fs.create_model(tiny(), weights=f"{OURS}#ema")


@pytest.mark.slow
def test_predict_takes_a_name_and_follows_what_the_hub_says(hub, photo, capsys):
    flags = *FLAGS, "--config.model.num_classes=10"
    found = run(capsys, "predict", photo, *flags, f"--config.init_from={ABOUT}")
    assert found["weights"] == f"{ABOUT}, in timm's names, licence mit; {SAID}"
    classify = fs.load(ABOUT, tiny())
    assert [x["class"] for x in found["predictions"][0]["top"]] == [x.name for x in classify(photo)]

    plain, average = (
        run(capsys, "predict", photo, *flags, f"--config.init_from={TORCH}{key}")
        for key in ("", "#ema")
    )
    assert plain["weights"].endswith(f"the plain weights ({TORCH}#ema for their average)")
    assert average["weights"] == f"{TORCH}#ema, in timm's names"
    assert plain["predictions"] != average["predictions"]


@pytest.mark.slow
def test_eval_and_export_take_a_name(hub, tmp_path, capsys):
    flags = *FLAGS, "--config.model.num_classes=10", f"--config.init_from={TORCH}#ema"
    written = run(capsys, "export", f"--output={tmp_path / 'out'}", *flags)
    assert written["weights"] == f"{TORCH}#ema, in timm's names"
    assert_weights(fs.load(tmp_path / "out").variables, 0.5)

    data = "--config.data.name=digits", "--config.data.batch_size=180"
    found = run(capsys, "eval", *flags, *data)
    assert found["weights"] == f"{TORCH}#ema, in timm's names"
    (tmp_path / "last.pth").write_bytes(hub.repositories["me/torch"]["runs/last.pth"])
    local = f"--config.init_from={tmp_path / 'last.pth'}#ema"
    assert run(capsys, "eval", *flags[:-1], *data, local)["test_loss"] == found["test_loss"]


@pytest.mark.slow
def test_training_begins_with_a_name_and_its_workdir_keeps_it(hub, tmp_path, capsys, monkeypatch):
    arguments = (
        *("--config=finetune:" + TINY, *FLAGS[1:], f"--config.init_from={ABOUT}"),
        *("--config.data.name=digits", "--config.data.batch_size=359", "--config.train.epochs=1"),
        *("--config.train.least_steps=0", "--config.train.freeze=backbone"),
        *("--config.optim.warmup_epochs=0", "--config.bn.precise_images=0"),
        f"--workdir={tmp_path / 'run'}",
    )
    assert main(["train", *arguments]) == 0
    said = capsys.readouterr()
    assert f"weights from {ABOUT}, in timm's names, licence mit" in said.out + said.err
    assert json.loads((tmp_path / "run/config.json").read_text())["init_from"] == ABOUT

    # what was frozen is the hub's to the bit; the classifier has moved, or began afresh
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    checkpoint = find_checkpoint(Folder(tmp_path / "run"))
    assert checkpoint is not None
    model = read_models(checkpoint)["model"]
    wanted = weights.from_timm(tiny(), timm_s(tiny()))["params"]
    for part in ("stem", "s1", "s4"):
        for key, values in flatten_dict(model["params"][part]).items():
            np.testing.assert_array_equal(values, flatten_dict(wanted[part])[key])
    kernel = model["params"]["head"]["fc"]["kernel"]
    assert not np.array_equal(kernel, wanted["head"]["fc"]["kernel"])


@pytest.mark.parametrize("command", ["predict", "eval", "export", "train"])
def test_each_command_says_in_a_line_that_a_name_is_not_there(
    hub, photo, tmp_path, capsys, command
):
    arguments = {
        "predict": [photo],
        "export": [f"--output={tmp_path / 'out'}"],
        "train": [f"--workdir={tmp_path / 'run'}"],
    }.get(command, [])
    flags = *FLAGS, "--config.model.num_classes=10", "--config.init_from=hf:me/tinny"
    assert main([command, *map(str, arguments), *flags, "--config.data.name=digits"]) == 2
    line = capsys.readouterr().err
    assert "there is no hf:me/tinny on the hub" in line
    assert line.rstrip().endswith("did you mean hf:me/tiny?")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()
