"""The site of the manual: what MkDocs gets of the pages, and the reference that is made."""

import pathlib
import re

import pytest
import yaml
from ml_collections import ConfigDict

from docs import check_site, config_tables, site_reference
from docs.site_markdown import for_python_markdown, site_link, with_links
from fastscale_jax.cli.application import COMMANDS
from fastscale_jax.train.recipe import default_config

ROOT = pathlib.Path(__file__).parents[1]
MOVED = {"README.md": "index.md", "launch/README.md": "launch.md"}


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        ("words:\n- a\n- b\n", "words:\n\n- a\n- b\n"),
        ("- a\n  - b\n    c\n", "- a\n    - b\n        c\n"),
        (
            "1. a\n   ```bash\n   x\n     y\n   ```\n2. b\n",
            "1. a\n\n    ```bash\n    x\n      y\n    ```\n\n2. b\n",
        ),
        ("words\n| a |\n|---|\n| b |\n", "words\n\n| a |\n|---|\n| b |\n"),
        (
            "<!-- table: x -->\n| a |\n|---|\n<!-- end -->\n",
            "<!-- table: x -->\n\n| a |\n|---|\n\n<!-- end -->\n",
        ),
        ("## a\n```\n- no list\n  x\n```\n", "## a\n\n```\n- no list\n  x\n```\n"),
        ("a - b\n", "a - b\n"),
    ],
)
def test_pages_get_the_indents_and_empty_lines_that_python_markdown_wants(page, wanted):
    assert for_python_markdown(page) == wanted


@pytest.mark.parametrize(
    ("link", "page", "wanted"),
    [
        ("data.md#folders", "docs/weights.md", "data.md#folders"),
        ("docs/data.md", "README.md", "data.md"),
        ("../launch/README.md", "docs/training.md", "launch.md"),
        ("../docs/data.md", "launch/README.md", "data.md"),
        ("../README.md", "docs/data.md", "index.md"),
        ("../pyproject.toml", "docs/architecture.md", None),
        ("slurm.sbatch", "launch/README.md", None),
        ("https://arxiv.org", "README.md", "https://arxiv.org"),
        ("#below", "docs/data.md", "#below"),
        ("architecture.png", "docs/architecture.md", "architecture.png"),
    ],
)
def test_links_lead_to_where_pages_are_on_the_site(link, page, wanted):
    assert site_link(link, page, MOVED, "") == wanted
    elsewhere = site_link(link, page, MOVED, "https://example.org/r/")
    assert elsewhere == (
        wanted or f"https://example.org/r/blob/main/{elsewhere.split('main/')[-1]}"
    )


def test_links_in_code_stay_and_a_file_s_name_becomes_a_title():
    page = "[data.md](data.md) and [x](gone)\n```\n[x](gone)\n```\n"
    followed = with_links(page, lambda link: None if link == "gone" else link, {"data.md": "Data"})
    assert followed == "[Data](data.md) and x\n```\n[x](gone)\n```\n"


def pages(nav):
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else pages(value)


def test_every_page_stands_once_in_the_navigation():
    settings = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), yaml.BaseLoader)
    hooks = (ROOT / "docs/site_hooks.py").read_text("utf-8")
    moved = re.findall(r'^    "[\w/]+\.md": "(\w+\.md)"', hooks, re.M)
    assert len(moved) == 5
    written = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert sorted(pages(settings["nav"])) == sorted([*written, *moved])


def test_every_key_of_a_recipe_has_a_line_that_says_something():
    keys = {key.name: key for key in config_tables.recipe_keys()}
    config = default_config()
    del config["variant"]
    assert keys.keys() == dict(_flattened(config)).keys()
    assert {name: key.default for name, key in keys.items()} == dict(_flattened(config))
    assert [name for name, key in keys.items() if not key.comment] == []
    assert config_tables.NOTES.keys() <= keys.keys()


def _flattened(config, prefix=""):
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_reference_has_the_help_of_every_command():
    made = site_reference.commands()
    assert re.findall(r"^## fastscale (\w+)$", made, re.M) == list(COMMANDS)
    assert str(pathlib.Path.home()) not in made
    assert max(map(len, made.splitlines())) <= 84


def test_the_reference_of_python_names_what_is_there():
    made = site_reference.python()
    paths = re.findall(r"^::: (\S+)$", made, re.M)
    assert len(paths) == len(set(paths)) > 40
    assert "fastscale_jax.api.create_model" in paths
    assert all(path.startswith("fastscale_jax.") for path in paths)


def test_the_readme_fits_two_screens_and_begins_with_what_a_stranger_needs():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 120
    assert lines.index("<!-- ci: main -->") < lines.index("<!-- ci: tests -->") < 30


PAGE = """<head><link rel="stylesheet" href="s.css"></head>
<article><h2 id="here">x</h2><ul><li>a</li></ul>
<a href="#here">1</a> <a href="../b/#there">2</a> <a href="https://example.org">3</a> {more}
</article><ul><li>no text</li></ul>"""


@pytest.mark.parametrize(
    ("more", "faults"),
    [
        ("", []),
        ('<a href="../c/">', ["a/index.html: no ../c/"]),
        ('<a href="../b/#gone">', ["a/index.html: no place ../b/#gone"]),
        ('<a href="#gone">', ["a/index.html: no place #gone"]),
        ('<img src="x.png">', ["a/index.html: no x.png"]),
        (
            '<script src="https://example.org/x.js"></script>',
            ["a/index.html: fetches https://example.org/x.js"],
        ),
    ],
)
def test_links_that_lead_nowhere_and_what_is_fetched_are_found(tmp_path, more, faults):
    for name, text in {"a": PAGE.format(more=more), "b": '<p id="there">'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(text)
    (tmp_path / "a" / "s.css").touch()
    assert list(check_site.broken(check_site.read(tmp_path), tmp_path)) == faults


def test_a_list_that_was_lost_is_found():
    page = check_site.Html(PAGE.format(more=""))
    assert list(check_site.lost(page, "- a\n")) == []
    assert list(check_site.lost(page, "- a\n- b\n")) == ["1 of <li>, not 2"]
