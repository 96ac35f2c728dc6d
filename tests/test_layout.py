"""How the package is laid out: what `lint-imports` does not see."""

import collections
import subprocess
import sys

from tests.commands import REPOSITORY

PACKAGE = REPOSITORY / "fastscale_jax"


def test_no_module_s_name_stands_twice():
    modules = [path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts]
    names = [path.parent.name if path.name == "__init__.py" else path.stem for path in modules]
    assert [name for name, times in collections.Counter(names).items() if times > 1] == []


def test_the_package_itself_imports_nothing():
    code = (
        "import sys; before = set(sys.modules); import fastscale_jax; "
        "print(sorted(set(sys.modules) - before - {'fastscale_jax'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_room_says_what_it_is_for():
    rooms = list(PACKAGE.rglob("__init__.py"))
    silent = [path for path in rooms if not path.read_text().startswith('"""')]
    assert silent == []
    assert PACKAGE / "utils/__init__.py" in rooms
