"""The manual's programs do what they say."""

import json
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
from PIL import Image

from fastscale_jax import models
from fastscale_jax.arch import Architecture
from fastscale_jax.data.augment.augmented import prepare
from fastscale_jax.data.sources.source import SOURCES, class_names, load_source
from fastscale_jax.interop.exporting import export_network
from tests.train.tiny import tiny_config

DOCS = pathlib.Path(__file__).parents[1] / "docs"
WITHOUT_THE_PACKAGE = "import sys\nsys.modules['fastscale_jax'] = None\n"


def test_the_example_runs_an_export_without_the_package(tmp_path):
    page = (DOCS / "weights.md").read_text()
    block = re.search(r"<!-- example: run an export -->\n```python\n(.*?)```", page, re.DOTALL)
    assert block
    network = Architecture.from_config(tiny_config().model)
    model = models.build(network)
    images = np.zeros((1, network.resolution, network.resolution, 3))
    variables = jax.device_get(model.init(jax.random.key(3), images, train=False))
    export_network(
        tmp_path / "exported",
        network,
        variables,
        conventions=SOURCES["digits"],
        classes=class_names("digits", 10),
    )
    pixels = load_source("digits", resolution=20, num_classes=10).test.images[0]  # 8×8
    Image.fromarray(pixels).save(tmp_path / "image.png")

    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE + block[1] + "print(logits.tolist())"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    name, logits = result.stdout.splitlines()
    mean, std, _ = SOURCES["digits"]
    ready = prepare(pixels[None], resolution=network.resolution, mean=mean, std=std)
    wanted = np.asarray(model.apply(variables, ready, train=False))
    np.testing.assert_allclose(json.loads(logits), wanted, rtol=0, atol=0.02 * np.ptp(wanted))
    assert name == str(wanted.argmax())
