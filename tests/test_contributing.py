"""What CONTRIBUTING.md, CITATION.cff, CHANGELOG.md and the workflows say is so."""

import pathlib
import re
from typing import Any

import pytest
import yaml

import fastscale_jax
from fastscale_jax import arch
from fastscale_jax.arch import bases, zoo
from tests.core import MODULES

ROOT = pathlib.Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
PATHS = sorted({*re.findall(r"`([\w./]+/[\w./]+|[A-Z]+\.\w+)`", GUIDE)})
WORKFLOWS = {path.name: path for path in (ROOT / ".github/workflows").glob("*.yml")}


@pytest.mark.parametrize("path", PATHS)
def test_every_file_that_the_guide_names_is_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("task", ["a family of networks", "a target", "a source of images"])
def test_each_addition_names_code_tests_and_the_manual(task):
    named = re.findall(r"`([\w./]+)`", SECTIONS[f"Add {task}"])
    for folder in ("fastscale_jax/", "tests/", "docs/"):
        assert any(name.startswith(folder) for name in named), folder


def test_the_example_family_has_the_parameters_that_torchvision_publishes(monkeypatch):
    family, recipe = re.findall(
        r"```python\n(.*?)```", SECTIONS["Add a family of networks"], re.DOTALL
    )
    monkeypatch.setattr(bases, "FAMILIES", dict(bases.FAMILIES))
    exec(compile(family, "bases.py", "exec"), dict(vars(bases)))
    added = bases.FAMILIES["wideresnet"]
    params = [arch.count(added.build("wideresnet", base)).params for base in added.bases]
    assert params == [68_883_240, 126_886_696]
    monkeypatch.setattr(zoo, "FAMILIES", bases.FAMILIES)
    names: dict[str, Any] = {}
    exec(compile(recipe, "wideresnet.py", "exec"), names)
    assert arch.count(names["get_config"]().model).params == params[0]
    scaled = arch.count(names["get_config"]("dWr_16gf").model)
    assert scaled.flops == pytest.approx(16e9, rel=0.1)


def test_every_module_that_the_guide_runs_is_there():
    modules = {*re.findall(r"python -m ((?:docs|benchmarks)\.\w+)", GUIDE)}
    assert len(modules) > 4
    for module in modules:
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


def test_package_citation_and_changelog_have_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    released = re.findall(
        r"^## \[(\d[\d.]*)\](?: - (.*))?$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )
    assert citation["version"] == fastscale_jax.__version__ == released[0][0]
    assert citation["date-released"] == released[0][1]
    assert citation["references"][0]["title"] == "Fast and Accurate Model Scaling"


def test_workflows_run_what_ci_runs():
    texts = {name: path.read_text("utf-8") for name, path in WORKFLOWS.items()}
    steps = [
        step["run"]
        for text in texts.values()
        for job in yaml.safe_load(text)["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    assert any(step.split()[0] == ".ci/run" and "'schedule' && '--whole'" in step for step in steps)
    assert "python -m mkdocs build --strict" in steps
    ci = (ROOT / ".ci/run").read_text("utf-8")
    assert all(command in ci for command in ("mkdocs build", "docs.check_site", "twine check"))
    # the Pythons that are promised are those that are tested
    tested = yaml.safe_load(texts["ci.yml"])["jobs"]["ci"]["strategy"]["matrix"]["python"]
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.py").read_text("utf-8"))
    assert tested == promised


def test_pythons_that_are_promised_are_named_wherever_pythons_are():
    """`.ci/run` reads the same lines of setup.py, for the newest."""
    *others, last = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.py").read_text("utf-8"))
    install = (ROOT / "docs/install.md").read_text("utf-8")
    assert f"| Python | {', '.join(others)} and {last}" in install
    for name in ("README.md", "CONTRIBUTING.md"):
        assert f"Python {others[0]} to {last}" in (ROOT / name).read_text("utf-8"), name
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert f"on Python {others[0]} to {last}" in lock


def test_modules_of_the_core_are_there():
    assert [module for module in MODULES if not module.is_file()] == []


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=str)
def test_issue_forms_ask_for_something(path):
    form = yaml.safe_load(path.read_text("utf-8"))
    if path.name != "config.yml":
        assert {"name", "description", "body"} <= form.keys()
        ids = [part["id"] for part in form["body"]]
        assert len(ids) == len(set(ids)) > 0
        assert any(part.get("validations", {}).get("required") for part in form["body"])
