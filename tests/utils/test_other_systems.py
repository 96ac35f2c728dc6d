"""The package on systems that lack what Linux has."""

import os
import subprocess
import sys

import pytest

from fastscale_jax.utils.processor import cores
from tests.commands import REPOSITORY

# What Windows or macOS does not have is gone before anything is imported. Threads and processes of
# the packages that we use need some of it here, so that those are left what they have.
IMPORT_ALL = """
import builtins, importlib, os, pkgutil, signal, sys

ABSENT = ("fcntl", "resource", "llvmlite", "termios", "pwd", "grp")
ours, load = "fastscale_jax", builtins.__import__

def load_what_there_is(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if name.partition(".")[0] in ABSENT and importer.partition(".")[0] == ours:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return load(name, globals, locals, fromlist, level)

builtins.__import__ = load_what_there_is
for module, names in (
    (os, ("pipe2", "killpg", "fork", "sched_getaffinity", "confstr", "O_CLOEXEC", "O_NONBLOCK")),
    (signal, ("SIGKILL", "SIGHUP", "SIGUSR1", "setitimer")),
):
    for name in names:
        delattr(module, name)

package = importlib.import_module(ours)
behind = f"{ours}.convs.native."  # which is imported where llvmlite is
failed, count = {}, 0
for found in pkgutil.walk_packages(package.__path__, f"{ours}."):
    if found.name.startswith(behind):
        continue
    count += 1
    try:
        importlib.import_module(found.name)
    except (ImportError, AttributeError) as error:
        failed[found.name] = repr(error)
print(count)
sys.exit("\\n".join(f"{name}: {error}" for name, error in failed.items()) or 0)
"""


@pytest.mark.slow
def test_every_module_can_be_imported_where_much_is_missing():
    command = [sys.executable, "-c", IMPORT_ALL]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_cores_are_those_of_the_machine_where_a_process_cannot_say_its_own(monkeypatch):
    assert cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert cores() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
