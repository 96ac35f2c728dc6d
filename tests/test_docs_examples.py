"""The manual's programs do what they say."""

import contextlib
import importlib
import importlib.util
import json
import pathlib
import re
import shlex
import subprocess
import sys

import cyclopts
import jax
import numpy as np
import pytest
from PIL import Image

from fastscale_jax import models
from fastscale_jax.arch import Architecture
from fastscale_jax.cli.application import COMMANDS, application
from fastscale_jax.cli.overrides import split
from fastscale_jax.data.augment.augmented import prepare
from fastscale_jax.data.sources.conventions import SOURCES, SourceInfo
from fastscale_jax.data.sources.source import class_names, load_source
from fastscale_jax.interop.exporting import export_network
from fastscale_jax.interop.prediction import Embedding
from fastscale_jax.interop.vectors import write_vectors
from fastscale_jax.runs.recipes import packaged, read_config
from tests.train.tiny import tiny_config

DOCS = pathlib.Path(__file__).parents[1] / "docs"
REPOSITORY = DOCS.parent
# the log tells what was typed at the time
PAGES = sorted({REPOSITORY / "README.md", *DOCS.glob("*.md")} - {DOCS / "log.md"})
TEXTS = {page.name: page.read_text("utf-8") for page in PAGES}
# of ml_collections, which loads config files so
WITHOUT_THE_PACKAGE = "import sys\nsys.modules['fastscale_jax'] = None\n"


def example(name):
    """A program of the page on weights."""
    page = (DOCS / "weights.md").read_text()
    block = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    assert block
    return block[1]


@pytest.mark.slow
@pytest.mark.parametrize("names", [["run an export"], ["run an export", "run ONNX"]])
def test_the_examples_run_an_export_without_the_package(names, tmp_path):
    if "run ONNX" in names:
        pytest.importorskip("onnxruntime")
    network = Architecture.from_config(tiny_config().model)
    model = models.build(network)
    images = np.zeros((1, network.resolution, network.resolution, 3))
    variables = jax.device_get(model.init(jax.random.key(3), images, train=False))
    export_network(
        tmp_path / "exported",
        network,
        variables,
        images=SourceInfo("digits", class_names("digits", 10), SOURCES["digits"]),
        config={},
        formats=["stablehlo", "onnx"][: len(names)],
    )
    pixels = load_source("digits", resolution=20, num_classes=10).test.images[0]  # 8×8
    Image.fromarray(pixels).save(tmp_path / "image.png")

    program = "".join([WITHOUT_THE_PACKAGE, *map(example, names), "print(logits.tolist())"])
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    *printed, logits = result.stdout.splitlines()
    mean, std = SOURCES["digits"][:2]
    ready = prepare(pixels[None], resolution=network.resolution, mean=mean, std=std)
    wanted = np.asarray(model.apply(variables, ready, train=False))
    np.testing.assert_allclose(json.loads(logits), wanted, rtol=0, atol=0.02 * np.ptp(wanted))
    assert printed == [str(wanted.argmax())] * len(names)


def test_the_example_finds_the_image_that_is_most_like_the_first(tmp_path):
    page = (DOCS / "weights.md").read_text()
    block = re.search(r"<!-- example: read vectors -->\n```python\n(.*?)```", page, re.DOTALL)
    assert block
    vectors = np.array([[3, 4], [4, -3], [6, 7]], np.float32)
    write_vectors(tmp_path / "vectors.npy", map(Embedding, ("a", "b", "c"), vectors))
    values = {}
    with contextlib.chdir(tmp_path):
        exec(block[1], values)
    assert values["most_alike"] == ["a", "c", "b"]


def blocks(language):
    """The blocks of a language in all pages."""
    pattern = re.compile(rf"^ *```{language}\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
    return [block for text in TEXTS.values() for block in pattern.findall(text)]


def whole_commands():
    """The lines of shell blocks that start `fastscale`."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return sorted({x.strip() for x in lines if x.strip().startswith("fastscale ") and "<" not in x})


def mentioned_commands():
    """What stands in running text; it may leave arguments out."""
    found = {x for text in TEXTS.values() for x in re.findall(r"`(fastscale \w[^`]*)`", text)}
    return sorted(" ".join(command.split()) for command in found)


def parsed(command):
    """Parses a command as `fastscale` does, with the keys of its config, and runs nothing."""
    tokens = [token for token in shlex.split(command, comments=True)[1:] if token != "…"]
    rest, overrides = split(tokens)
    recipe = next((x for x in rest if x.split(":")[0] in packaged()), "digits")
    if not re.search(r"_\d+(ms|gb)$", recipe):  # of a device that was fitted
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["fastscale", *overrides])  # where ml_collections looks
            read_config(recipe, overrides)
    assert rest[0] in {*COMMANDS, "--help"}
    return application().parse_args(rest, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("command", whole_commands())
def test_a_command_of_the_manual_is_one(command):
    function, bound, _ = parsed(command)
    assert callable(function)
    assert bound is not None


@pytest.mark.parametrize("command", mentioned_commands())
def test_a_command_that_the_manual_mentions_is_one(command):
    with contextlib.suppress(cyclopts.MissingArgumentError):
        parsed(command)


def test_what_the_manual_imports_is_there():
    imports = re.findall(
        r"^ *from (fastscale_jax[\w.]*) import (.+)$", "\n".join(blocks("python")), re.M
    )
    assert len(imports) > 5
    for module, names in imports:
        for name in names.split(", "):
            try:
                getattr(importlib.import_module(module), name)
            except AttributeError:
                importlib.import_module(f"{module}.{name}")


def test_every_module_and_script_that_the_manual_runs_is_there():
    text = "\n".join(TEXTS.values())
    ours = re.findall(r"python -m ((?:benchmarks|docs|fastscale_jax)[\w.]*\w)", text)
    assert len({*ours}) > 10
    for name in {*ours}:
        assert importlib.util.find_spec(name), name
    for name in {*re.findall(r"(?<!\]\(\.\./)\b(launch/\w+\.\w+)", text)}:
        assert (REPOSITORY / name).is_file(), name


def test_every_extra_that_the_manual_installs_is_one():
    text = "\n".join(TEXTS.values())
    extras = {*re.findall(r'^    "([\w-]+)": \[?', (REPOSITORY / "setup.py").read_text(), re.M)}
    asked = {x for names in re.findall(r"\.\[([\w,-]+)\]'", text) for x in names.split(",")}
    assert len(asked) > 5
    assert asked <= extras
    install = TEXTS["install.md"].partition("## Extras")[2]
    assert extras - {"fastscale_jax"} == {
        *re.findall(
            r"`([\w-]+)`",
            "".join(line.split("|")[1] for line in install.splitlines() if line.startswith("| `")),
        )
    }


def test_the_readme_s_results_are_among_all_results():
    rows = TEXTS["README.md"].partition("## Results")[2].partition("\n##")[0].splitlines()
    figures = re.compile(r"\d[\d.,e-]*\d|\d")
    known = {*figures.findall(TEXTS["results.md"])}
    found = [row.split("|")[2] for row in rows if row.startswith("| ")][1:]
    assert len(found) == 6
    for result in found:
        assert {*figures.findall(result)} <= known, result


def test_every_page_that_a_page_links_to_is_there():
    others = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "launch/README.md")
    for page in [*PAGES, *(REPOSITORY / name for name in others)]:
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
