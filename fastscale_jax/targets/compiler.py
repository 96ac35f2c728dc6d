"""Compiles programs in child processes, and caches the outcomes."""

import contextlib
import json
import os
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from fastscale_jax.targets import child
from fastscale_jax.targets.extras import check_compiler
from fastscale_jax.targets.program import Outcome, Program
from fastscale_jax.targets.store import Store

TIMEOUT_SECONDS = 1800.0
_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
# XLA's message when one of its own checks fails: `F0000 … file.cc:627] Check failed: …`
_CHECKED = "Check failed"
_CHECK = re.compile(r"^F\d{4} .*?([\w.]+:\d+\] .*)$", re.MULTILINE)
_RAISED = re.compile(
    r"(\w+\.)*\w*(Error|Exception): "
)  # the last line of a traceback, and its message
# For libtpu without a TPU: do not query the machine, and let other processes load it.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# Variables that are not passed on: they would change programs, but are not part of a program's key.
_NOT_PASSED_ON = ("JAX_", "XLA_", "LIBTPU_", "TPU_")

Tell = Callable[[str], None]


class FailedError(Exception):
    """The compiler made no program; the message has the reason."""

    def __init__(self, program: Program, outcome: Outcome) -> None:
        super().__init__(f"{program.title}: {outcome.failure}: {outcome.reason}")


def compiled(
    program: Program,
    *,
    store: Store | None = None,
    timeout: float = TIMEOUT_SECONDS,
    tell: Tell = lambda line: None,
) -> Outcome:
    """Returns the outcome of compiling a program, from the store if it has one.

    Nothing is run, and no device is needed. If the compiler aborts, refuses the program or takes
    too long, the outcome has the reason.

    Args:
        program: program to compile.
        store: cache of outcomes; None: no cache.
        timeout: most seconds for the compiler.
        tell: called about once a second with the stage.

    Raises:
        ValueError: the target's compiler is not installed, or is of another version than JAX.
    """
    if program.target is not None:
        check_compiler(program.target.device.platform)
    keeps = store is not None and program.target is not None
    key = program.key() if keeps else ""
    if store is not None and keeps and (known := store.read(key)):
        return known
    with tempfile.TemporaryDirectory() as folder:
        outcome = _compiled(program, pathlib.Path(folder), timeout, tell)
    if store is not None and keeps and _is_lasting(outcome):
        store.write(key, outcome)
    return outcome


def _is_lasting(outcome: Outcome) -> bool:
    """Whether compiling again would give the same: not after a timeout, kill or full disk."""
    if outcome.failure == "aborted":
        return _CHECKED in outcome.reason
    return outcome.failure in ("", "out of memory")


def _compiled(program: Program, folder: pathlib.Path, timeout: float, tell: Tell) -> Outcome:
    errors = folder / "stderr"
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", child.__name__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(program, folder),
            start_new_session=True,  # so that its child processes can be ended with it
        ) as process,
        _ended_with_us(process),
    ):
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # it may have ended already
            pickle.dump(program, process.stdin)
        try:
            _wait(process, program, timeout, tell)
        except subprocess.TimeoutExpired:
            return Outcome(failure="timed out", reason=f"not compiled after {timeout:g} s")
    outcome_file = folder / child.OUTCOME
    if process.returncode == 0 and outcome_file.exists():
        text = (folder / child.MODULE).read_text()
        return Outcome(text=text, **json.loads(outcome_file.read_text()))
    return _failure(process.returncode, errors.read_text(errors="replace"))


@contextlib.contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kills the compiler if the wait for it ends early."""
    try:
        yield
    finally:
        if process.poll() is None:
            _kill(process)
            process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a compiler and its child processes; on Windows only the compiler."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _wait(process: subprocess.Popen[bytes], program: Program, timeout: float, tell: Tell) -> None:
    stages = ["starting"]

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            stages.append(line.decode(errors="replace").strip())

    threading.Thread(target=read, daemon=True).start()
    since = time.monotonic()
    while True:
        waited = time.monotonic() - since
        if waited > timeout:
            raise subprocess.TimeoutExpired(process.args, timeout)
        tell(f"{program.title}: {stages[-1]}, {waited:.0f} s")
        try:
            process.wait(timeout=min(1.0, timeout))
            return
        except subprocess.TimeoutExpired:
            continue


def _failure(status: int, errors: str) -> Outcome:
    """The outcome of a compiler that ended without a program, with the reason from its messages."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if status < 0:
        checks = _CHECK.findall(errors)
        check = checks[-1] if checks else f"signal {signal.Signals(-status).name}"
        return Outcome(failure="aborted", reason=f"XLA's compiler aborted: {_short(check)}")
    # XLA's message ends with the program's position in the Python sources, not with the reason
    raised = [line for line in lines if _RAISED.match(line)] or lines[-1:]
    last = raised[-1] if raised else f"exit status {status}"
    for line in reversed(lines):
        if _OUT_OF_MEMORY in line:
            return Outcome(failure="out of memory", reason=_short(line.partition(": ")[2] or line))
    return Outcome(failure="refused", reason=_short(last))


def _short(line: str) -> str:
    return " ".join(line.split())[:300]


def _environment(program: Program, folder: pathlib.Path) -> dict[str, str]:
    if program.target is None:
        return dict(os.environ)
    kept = {k: value for k, value in os.environ.items() if not k.startswith(_NOT_PASSED_ON)}
    environment = {**kept, **_ENVIRONMENT}
    if program.until == "layout":
        environment["XLA_FLAGS"] = f"--xla_dump_to={folder / child.DUMP} --xla_dump_hlo_as_text"
    return environment
