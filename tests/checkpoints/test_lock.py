"""One run at a time in a workdir, by whichever lock the operating system has."""

import os
import subprocess
import sys

import pytest

from fastscale_jax.checkpoints import lock
from fastscale_jax.checkpoints.lock import InUseError, locked
from tests.commands import REPOSITORY
from tests.full_disk import full

# Windows has msvcrt instead of fcntl. This one locks a file's bytes as that does, but for one
# thing: Windows lets nobody else read them. So they must lie behind what is read.
WINDOWS = """
import fcntl, os, sys, types

def locking(file, mode, count):
    assert mode == msvcrt.LK_NBLCK
    start = os.lseek(file, 0, os.SEEK_CUR)
    assert start > os.fstat(file).st_size
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, count, start)
    except BlockingIOError:
        raise PermissionError(13, "Permission denied") from None

msvcrt = types.ModuleType("msvcrt")
msvcrt.locking, msvcrt.LK_NBLCK = locking, 2
sys.modules["msvcrt"], sys.modules["fcntl"] = msvcrt, None
"""
NEITHER = "import sys; sys.modules['fcntl'] = sys.modules['msvcrt'] = None"
RUN = """
import pathlib, sys
from fastscale_jax.checkpoints.lock import InUseError, locked

try:
    with locked(pathlib.Path(sys.argv[1])):
        print("in", flush=True)
        sys.stdin.read()
except InUseError as error:
    print(error, flush=True)
"""


def start(workdir, system):
    """A run that stays until its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", system + RUN, str(workdir)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("system", ["", WINDOWS], ids=["fcntl", "msvcrt"])
def test_a_second_run_is_kept_out_until_the_first_ends_however_it_does(tmp_path, system):
    with start(tmp_path, system) as first:
        assert first.stdout.readline() == "in\n"
        with start(tmp_path, system) as second:
            said, _ = second.communicate()
        assert said.startswith(f"another run is at work in {tmp_path} (process {first.pid} on ")
        first.kill()
    with start(tmp_path, system) as third:
        said, _ = third.communicate()
    assert said == "in\n"


def test_a_folder_is_free_again_after_the_with_statement(tmp_path):
    owner = f"process {os.getpid()} on"
    for _ in range(2):
        with locked(tmp_path), pytest.raises(InUseError, match=owner), locked(tmp_path):
            pass


def test_a_folder_on_a_full_disk_is_locked_all_the_same(tmp_path):
    with (
        full(),
        locked(tmp_path),
        pytest.raises(InUseError, match=r"at work in .* \(unknown\)"),
        locked(tmp_path),
    ):
        pass


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe", "folder"])
def test_a_lock_is_written_through_nothing(tmp_path, kind):
    victim, workdir = tmp_path / "victim", tmp_path / "run"
    victim.write_text("mine")
    workdir.mkdir()
    if kind == "pipe":
        os.mkfifo(workdir / "lock")
    elif kind == "folder":
        (workdir / "lock").mkdir()
    else:
        (workdir / "lock").symlink_to(victim if kind == "link" else tmp_path / "nothing")
    reason = "a symbolic link" if "link" in kind else "not a regular file"
    with pytest.raises(ValueError, match=f"lock is {reason}, and nothing is"), locked(workdir):
        pass
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nothing").exists()


def test_where_nothing_can_be_locked_nothing_is_kept_out(tmp_path, monkeypatch):
    with start(tmp_path, NEITHER) as first:
        assert first.stdout.readline() == "in\n"
        with start(tmp_path, NEITHER) as second:
            assert second.communicate()[0] == "in\n"
        first.communicate()
    monkeypatch.setattr(lock, "_module", lambda name: None)
    with locked(tmp_path), locked(tmp_path):
        assert (tmp_path / "lock").read_text() == ""
