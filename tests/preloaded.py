"""Runs commands under test as forks of one process that has already imported their modules.

A short command spends most of its time on starting the interpreter and JAX. A forked command also
has its own environment, folder, streams and exit functions, like a command in its own process.
"""

import atexit
import io
import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import threading
from multiprocessing import forkserver

import pytest

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "fastscale_jax.api",
        "fastscale_jax.cli.info_command",
        "fastscale_jax.cli.predict_command",
        "fastscale_jax.cli.train_command",
        "fastscale_jax.runs.loop",
        "matplotlib.pyplot",
        "torch",
    ]
)
# Settings that a program reads as it starts: a command with others is not forked. XLA reads its own
# when it is first used, and JAX's are set in the forked process.
_READ_EARLY = ("PYTHON", "MPL", "OMP_", "TF_")
_NO_RESTART = {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0"}  # fastscale_jax.utils.huge_pages
_started_with: list[dict[str, str]] = []  # the settings above, once the process has been started


def run_preloaded(
    module: str, arguments: tuple[str, ...], env: dict[str, str], folder: pathlib.Path
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m fastscale_jax.<module>` and captures what it prints.

    The first call decides what is set as the forked process starts. Where others of these settings
    are wanted later, the command gets an interpreter of its own.
    """
    early = {name: x for name, x in env.items() if name.startswith(_READ_EARLY)}
    if not _started_with:
        _started_with.append(early)
        with pytest.MonkeyPatch.context() as patch:
            for name in filter(_is_of_jax, {**os.environ}):
                patch.delenv(name)
            for name, value in env.items():
                if not _is_of_jax(name):
                    patch.setenv(name, value)
            forkserver.ensure_running()
    if [early] != _started_with:
        command = [sys.executable, "-m", f"fastscale_jax.{module}", *arguments]
        return subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
    with tempfile.TemporaryDirectory() as place:
        outputs = [pathlib.Path(place) / name for name in ("stdout", "stderr")]
        given = (module, arguments, {**env, **_NO_RESTART}, folder, *outputs)
        process = _CONTEXT.Process(target=_command, args=given)
        process.start()
        process.join()
        texts = [output.read_text(encoding="utf-8") for output in outputs]
    return subprocess.CompletedProcess([module, *arguments], process.exitcode or 0, *texts)


def _is_of_jax(name: str) -> bool:
    return name.startswith("JAX_")


def _set_in_jax(name: str, value: str) -> None:
    """Sets an option of JAX's to what the environment has for it, as importing JAX does."""
    import jax  # the forked process has it

    options = jax.config.values
    if name not in options:  # not every JAX_ variable is an option
        return
    before = options[name]
    if isinstance(before, bool):
        jax.config.update(name, jax._src.config.bool_env(name.upper(), before))
    else:
        jax.config.update(name, value if before is None else type(before)(value))


def _command(
    module: str,
    arguments: tuple[str, ...],
    env: dict[str, str],
    folder: pathlib.Path,
    stdout: pathlib.Path,
    stderr: pathlib.Path,
) -> None:
    """Is a command, in the process that was forked for it."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for descriptor, file in ((1, stdout), (2, stderr)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), errors="backslashreplace", line_buffering=True
    )
    for name in filter(_is_of_jax, env):
        _set_in_jax(name.lower(), env[name])
    sys.argv = [module, *arguments]
    sys.modules.pop(f"fastscale_jax.{module}", None)  # it is run, not imported
    try:
        runpy.run_module(f"fastscale_jax.{module}", run_name="__main__", alter_sys=True)
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
