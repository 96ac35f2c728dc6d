"""Which tests a change touches."""

import subprocess

import pytest

from tests import touched as touched_module
from tests.touched import REPOSITORY, changed_since, dependencies, reached, touched

FILES = {
    "fastscale_jax/__init__.py": "",
    "fastscale_jax/sizes.py": '"""Reads fastscale_jax/steps.py? No: this is a docstring."""\n',
    "fastscale_jax/steps.py": "from fastscale_jax import sizes\n",
    "fastscale_jax/table.py": 'open("fastscale_jax/rows.json")\n',
    "fastscale_jax/rows.json": "[]",
    "fastscale_jax/api.py": "",
    "fastscale_jax/commands/train.py": "import fastscale_jax.steps\n",
    "fastscale_jax/commands/costs.py": "",
    "fastscale_jax/main.py": '{"info": Command("costs:show")}; f"fastscale_jax.commands.{name}"\n',
    "docs/page.md": "import fastscale_jax as fs; fastscale train\n",
    "tests/conftest.py": 'CORE = ["tests/test_sizes.py"]\n',
    "tests/test_sizes.py": "from fastscale_jax.sizes import count\n",
    "tests/test_steps.py": "def test():\n    from fastscale_jax.steps import step\n",
    "tests/test_rows.py": "import fastscale_jax.table\n",
    "tests/commands.py": 'run("fastscale_jax.main")\n',
    "tests/test_command.py": 'import tests.commands; run("train")\n',
    "tests/test_info.py": 'import tests.commands; run("--mode=info")\n',
    "tests/test_attribute.py": "import fastscale_jax as fs\nfs.sizes.count()\n",
    "tests/test_pages.py": 'import tests.commands; read("docs/page.md")\n',
    "tests/test_page.py": 'read("docs/page.md")\n',
    "setup.py": "",
    "launch.sh": "",
}
TESTS = [name for name in FILES if name.startswith("tests/test_")]
ALL = {name.removeprefix("tests/test_").removesuffix(".py") for name in TESTS}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return dependencies(FILES, root)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # by way of others
        ("fastscale_jax/sizes.py", {"sizes", "steps", "command", "attribute", "pages"}),
        ("fastscale_jax/steps.py", {"steps", "command", "pages"}),  # a command is run by its name
        ("fastscale_jax/commands/costs.py", {"info"}),  # by the name that users give it
        ("fastscale_jax/main.py", {"command", "info", "pages"}),
        ("fastscale_jax/api.py", {"page", "pages"}),  # a page that is run
        ("fastscale_jax/rows.json", {"rows"}),  # a file is opened by its name
        ("docs/page.md", {"page", "pages"}),
        ("tests/test_rows.py", {"rows"}),
        ("tests/conftest.py", ALL),
        ("launch.sh", ALL),  # nobody says what it is for
        ("fastscale_jax/deleted.py", ALL),
        ("setup.py", ALL),
        ("docs/unread.md", set()),
    ],
)
def test_a_change_touches_what_depends_on_it(graph, changed, expected):
    assert expected <= ALL
    tests = {test: reached(test, graph) for test in TESTS}
    assert sorted(touched(tests, frozenset([changed]), graph, "")) == sorted(
        f"tests/test_{name}.py" for name in expected
    )


def test_the_nearest_come_first_and_equally_near_ones_in_any_order(graph):
    tests = {test: reached(test, graph) for test in TESTS}
    changed = frozenset(["fastscale_jax/sizes.py"])
    orders = {tuple(touched(tests, changed, graph, str(salt))) for salt in range(99)}
    steps = {"sizes": 1, "attribute": 1, "steps": 2}  # then those that run a command, by its name
    for order in orders:
        assert {*order[:2]} == {"tests/test_sizes.py", "tests/test_attribute.py"}
        assert order[2] == "tests/test_steps.py"
    assert len({order[:2] for order in orders}) == 2
    assert {
        name: tests[f"tests/test_{name}.py"]["fastscale_jax/sizes.py"] for name in steps
    } == steps


def test_this_repository_s_map_knows_what_tests_read():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    found = dependencies(listed.stdout.splitlines())
    tests = {name: reached(name, found) for name in found.graph if "/test_" in name}
    for changed, named in {
        "fastscale_jax/arch/scaling.py": "tests/arch/test_scaling.py",
        "tests/golden/scaling.json": "tests/arch/test_scaling.py",
        "fastscale_jax/convs/conv_choices.json": "tests/convs/test_conv_choice.py",
        "fastscale_jax/report/page/explorer.js": "tests/report/test_report_browser.py",
        "fastscale_jax/cli/info_command.py": "tests/cli/test_main.py",
        "docs/python.md": "tests/test_docs_python.py",
        "fastscale_jax/api.py": "tests/test_docs_python.py",
        "fastscale_jax/train/step.py": "tests/runs/test_survival.py",
        "fastscale_jax/search/ledger.py": "tests/search/test_commands.py",
        "fastscale_jax/report/contents.py": "tests/report/test_report_command.py",
        "fastscale_jax/cli/predict_command.py": "tests/cli/test_predict_cli.py",
        "fastscale_jax/measure/choose.py": "tests/measure/test_choose.py",
        "fastscale_jax/interop/exporting.py": "tests/cli/test_weights_cli.py",
        "fastscale_jax/report/explorer.py": "tests/utils/test_other_systems.py",
        "configs/efficientnet_google.py": "tests/cli/test_recipes.py",
        "fastscale_jax/report/__main__.py": "tests/report/test_report_command.py",
    }.items():
        assert named in touched(tests, frozenset([changed]), found, "")
    for changed, other in {
        "fastscale_jax/arch/scaling.py": "tests/data/test_views.py",
        "fastscale_jax/report/contents.py": "tests/runs/test_survival.py",
        "fastscale_jax/search/ledger.py": "tests/distributed/test_many_hosts.py",
    }.items():
        assert other not in touched(tests, frozenset([changed]), found, "")


def test_comments_and_docstrings_are_no_change_but_where_they_are_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(touched_module, "REPOSITORY", tmp_path)

    def git(*arguments):
        settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *settings, *arguments], cwd=tmp_path, check=True)

    git("init", "--quiet")
    (tmp_path / "fastscale_jax/cli").mkdir(parents=True)
    help_of = "fastscale_jax/cli/command.py"
    for name in ("documented.py", help_of, "changed.py", "removed.py", "text.txt"):
        (tmp_path / name).write_text('def one():\n    """Is 1."""\n    return 1\n')
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    for name in ("documented.py", help_of):
        (tmp_path / name).write_text(
            'def one():\n    """Returns 1."""\n    return 1  # and no other\n'
        )
    (tmp_path / "changed.py").write_text('def one():\n    """Is 1."""\n    return 2\n')
    (tmp_path / "text.txt").write_text("other")
    (tmp_path / "removed.py").unlink()
    touched_module._git.cache_clear()
    assert changed_since("HEAD") == {help_of, "changed.py", "removed.py", "text.txt"}
    touched_module._git.cache_clear()
