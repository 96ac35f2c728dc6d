"""The command line as a user has it, and a run of a few seconds for it."""

import os
import pathlib
import socket
import subprocess
import sys

from tests.compiler import XLA_FLAGS
from tests.preloaded import run_preloaded

REPOSITORY = pathlib.Path(__file__).parents[1]
# tracing and compiling are nearly all that short runs do: less of it, and what one has compiled
# others need not
_QUICKLY = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS": "0",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
# a RegNetZ of two stages and three blocks at 16 pixels, on digits, for three steps
TINY = (
    "--config=configs/regnetz.py:dWr_x0.016",
    "--config.model.depths=(1,2)",
    "--config.model.widths=(8,8)",
    "--config.model.strides=(2,2)",
    "--config.model.kernels=(3,3)",
    "--config.model.group_widths=(1,1)",
    "--config.model.expansions=(4.0,4.0)",
    "--config.model.num_classes=10",
    "--config.data.name=digits",
    "--config.data.batch_size=100",
    "--config.train.steps=3",
    "--config.train.log_every_steps=2",
    "--config.augment.policy=",
    "--config.model.resolution=16",
    "--config.bn.precise_images=100",
)


def run(*arguments: str, quickly: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; `quickly`: compiled in less time, to slower programs."""
    return run_module("main", *arguments, quickly=quickly)


def run_module(
    name: str, *arguments: str, quickly: bool = True
) -> subprocess.CompletedProcess[str]:
    """As `run`, for another module of the package's that is a command."""
    return run_preloaded(name, arguments, environment() if quickly else {**os.environ}, REPOSITORY)


def environment() -> dict[str, str]:
    """Returns this process's environment, set to compile quickly."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS}".strip()
    return {**os.environ, **_QUICKLY, "XLA_FLAGS": flags}


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts a command whose stderr can be read while it runs."""
    command = [sys.executable, "-u", "-m", "fastscale_jax.main", *arguments]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE, text=True
    )


def installed(program: str) -> str:
    """Returns the path of a program that is installed beside this Python, activated or not."""
    return str(pathlib.Path(sys.executable).with_name(program))


def free_port() -> int:
    """Returns a port that nobody listens on just now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]
