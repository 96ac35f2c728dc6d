"""The process starts itself again, once, and only where that would change something."""

import os
import pathlib
import subprocess
import sys

import pytest

from fastscale_jax.cli import application, options
from fastscale_jax.cli.options import Session
from fastscale_jax.utils import huge_pages


@pytest.fixture
def restarts(monkeypatch, tmp_path):
    """What the process would be replaced by, on a machine where huge pages can be had."""
    setting = tmp_path / "enabled"
    setting.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "_SETTING", setting)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    found = []
    monkeypatch.setattr(os, "execv", lambda *call: found.append(call))
    return found


def test_the_same_command_is_started_again_and_only_once(restarts):
    huge_pages.restart_with_huge_pages()
    assert restarts == [(sys.executable, [sys.executable, *sys.orig_argv[1:]])]
    assert "glibc.malloc.hugetlb=1" in os.environ["GLIBC_TUNABLES"].split(":")
    huge_pages.restart_with_huge_pages()
    assert len(restarts) == 1


def test_other_settings_are_kept(restarts, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.x86_ibt=on")
    huge_pages.restart_with_huge_pages()
    assert os.environ["GLIBC_TUNABLES"].startswith("glibc.cpu.x86_ibt=on:glibc.malloc.hugetlb=1:")
    assert len(restarts) == 1


def test_one_s_own_setting_of_the_allocator_wins(restarts, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    huge_pages.restart_with_huge_pages()
    assert restarts == []


@pytest.mark.parametrize(
    ("setting", "library"),
    [
        ("[always] madvise never", "glibc 2.36"),  # there in any case
        ("always madvise [never]", "glibc 2.36"),
        ("always [madvise] never", "glibc 2.31"),
        ("always [madvise] never", "musl 1.2"),
        ("always [madvise] never", None),
    ],
)
def test_nothing_happens_where_it_would_not_help(restarts, monkeypatch, setting, library):
    huge_pages._SETTING.write_text(setting)
    monkeypatch.setattr(os, "confstr", lambda name: library)
    huge_pages.restart_with_huge_pages()
    assert restarts == []


def test_nothing_happens_on_another_system(restarts, monkeypatch, tmp_path):
    monkeypatch.setattr(huge_pages, "_SETTING", tmp_path / "absent")
    huge_pages.restart_with_huge_pages()
    assert restarts == []


@pytest.fixture
def known():
    """The settings that this machine's glibc has."""
    loader = "/lib64/ld-linux-x86-64.so.2"
    if not os.path.exists(loader):
        pytest.skip("no loader of glibc's for x86-64")
    with os.popen(f"{loader} --list-tunables") as listing:
        names = {line.partition(":")[0] for line in listing}
    if "glibc.malloc.hugetlb" not in names:
        pytest.skip("glibc before 2.35")
    return names


def test_the_settings_are_ones_that_this_c_library_knows(known):
    """glibc says nothing of a name that it does not know, so ask its loader for the list."""
    assert set(huge_pages._TUNABLES) <= known


def test_the_manual_has_the_same_settings():
    settings = ":".join(f"{name}={value}" for name, value in huge_pages._TUNABLES.items())
    manual = (pathlib.Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert f"export GLIBC_TUNABLES={settings}\n" in manual


# a program with 128 MB of temporaries, called several times in a row: the process's memory in MB
# after the first call and the last, and page faults of the later calls
STEPS = """
import resource
import sys

from fastscale_jax.utils.huge_pages import run_in_calling_thread

if sys.argv[1] == "inline":
    run_in_calling_thread()
import jax
import jax.numpy as jnp

x, w, v = jnp.ones((4096, 64)), jnp.ones((64, 8192)), jnp.ones((8192, 1))
program = jax.jit(lambda x: (x @ w) @ v).lower(x).compile()
size = program.memory_analysis().temp_size_in_bytes
def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_maxrss >> 10, used.ru_minflt
for _ in range(5):
    state = jax.block_until_ready(program(x))
before, faults = usage()
for _ in range(16):  # as in training, where each state replaces the one before
    state = program(x)
jax.block_until_ready(state)
after, faults_after = usage()
print(size >> 20, after - before, faults_after - faults)
"""


def steps(how):
    child = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, check=True)
    return map(int, child.stdout.split())


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_steps_in_a_row_share_one_step_s_memory_and_get_none_from_the_kernel(restarts):
    huge_pages.restart_with_huge_pages()  # sets the variable; the process itself goes on
    size, growth, faults = steps("inline")
    assert size >= 128
    # MB: a small result may have taken a part of the block, so that a second one is needed
    assert growth < 1.5 * size
    assert faults < 300  # the temporaries of each call are 64 huge pages
    *_, faults = steps("queued")  # in another thread, whose blocks are mapped anew
    assert faults > 300  # what the setting is for


@pytest.mark.parametrize(
    ("command", "is_set"),
    [
        *[(name, True) for name in ("train", "eval", "time", "memory", "predict", "choose")],
        *[(name, True) for name in ("search", "compound", "study")],
        # they run nothing, or in processes of their own
        *[(name, False) for name in ("info", "program", "scale", "curves", "device")],
    ],
)
def test_commands_that_run_programs_do_so_in_the_calling_thread(monkeypatch, command, is_set):
    class Started(BaseException):
        pass

    def start(self, *, compiles=False, runs=False):
        raise Started(compiles or runs)

    monkeypatch.setattr(Session, "start", start)
    needed = {"curves": ["--results=none"], "scale": ["--config=regnetz:500mf", "dWr_x2"]}
    needed |= {"predict": ["a.jpg", "--config=digits"], "choose": ["regnetz", "--step_ms=1"]}
    needed |= {"device": ["regnetz:500mf", "--target=here", "--budget=step_ms:1"]}
    with pytest.raises(Started) as started:
        application.main([command, *needed.get(command, ["digits"])])
    assert started.value.args == (is_set,)


def test_a_session_that_runs_programs_sets_it(monkeypatch):
    calls = []
    monkeypatch.setattr(options, "run_in_calling_thread", lambda: calls.append("inline"))
    Session(compile_cache="").start()
    assert calls == []
    Session(compile_cache="").start(runs=True)
    Session(compile_cache="").start(compiles=True)
    assert calls == ["inline", "inline"]
