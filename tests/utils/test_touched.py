"""Which tests a change touches."""

import subprocess

import pytest

from tests import touched as touched_module
from tests.touched import REPOSITORY, changed_since, dependencies, touched

FILES = {
    "fastscale_jax/__init__.py": "",
    "fastscale_jax/sizes.py": '"""Reads fastscale_jax/steps.py? No: this is a docstring."""\n',
    "fastscale_jax/steps.py": "from fastscale_jax import sizes\n",
    "fastscale_jax/table.py": 'open("fastscale_jax/rows.json")\n',
    "fastscale_jax/rows.json": "[]",
    "fastscale_jax/commands/train.py": "import fastscale_jax.steps\n",
    "fastscale_jax/main.py": 'f"fastscale_jax.commands.{name}"\n',
    "docs/page.md": "",
    "tests/conftest.py": 'CORE = ["tests/test_sizes.py"]\n',
    "tests/test_sizes.py": "from fastscale_jax.sizes import count\n",
    "tests/test_steps.py": "def test():\n    from fastscale_jax.steps import step\n",
    "tests/test_rows.py": "import fastscale_jax.table\n",
    "tests/test_command.py": 'run("-m", "fastscale_jax.main")\n',
    "tests/test_page.py": 'read("docs/page.md")\n',
    "setup.py": "",
    "launch.sh": "",
}
TESTS = [name for name in FILES if name.startswith("tests/test_")]


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
        ("fastscale_jax/sizes.py", {"sizes", "steps", "command"}),  # by way of others
        ("fastscale_jax/steps.py", {"steps", "command"}),  # a command is run by its name
        ("fastscale_jax/rows.json", {"rows"}),  # a file is opened by its name
        ("docs/page.md", {"page"}),
        ("tests/test_rows.py", {"rows"}),
        ("tests/conftest.py", {"sizes", "steps", "rows", "command", "page"}),
        ("launch.sh", {"sizes", "steps", "rows", "command", "page"}),  # nobody says what it is for
        ("fastscale_jax/deleted.py", {"sizes", "steps", "rows", "command", "page"}),
        ("setup.py", {"sizes", "steps", "rows", "command", "page"}),
        ("docs/unread.md", set()),
    ],
)
def test_a_change_touches_what_depends_on_it(graph, changed, expected):
    names = {name.removeprefix("tests/test_").removesuffix(".py") for name in TESTS}
    assert expected <= names
    assert touched(TESTS, frozenset([changed]), graph) == sorted(
        f"tests/test_{name}.py" for name in expected
    )


def test_this_repository_s_map_knows_what_tests_read():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    graph = dependencies(listed.stdout.splitlines())
    tests = [name for name in graph if "/test_" in name]
    for changed, named in {
        "fastscale_jax/arch/scaling.py": "tests/arch/test_scaling.py",
        "tests/golden/scaling.json": "tests/arch/test_scaling.py",
        "fastscale_jax/convs/conv_choices.json": "tests/convs/test_conv_choice.py",
        "fastscale_jax/report/page/explorer.js": "tests/report/test_report_browser.py",
        "fastscale_jax/cli/info_command.py": "tests/cli/test_main.py",
        "docs/python.md": "tests/test_docs_python.py",
    }.items():
        assert named in touched(tests, frozenset([changed]), graph)
    assert "tests/data/test_views.py" not in touched(
        tests, frozenset(["fastscale_jax/arch/scaling.py"]), graph
    )


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
