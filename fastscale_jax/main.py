"""Entry points: `fastscale <subcommand>`, and `python -m fastscale_jax.main --mode=<subcommand>`.

python -m fastscale_jax.main --config=configs/regnetz.py:dWr_16gf --mode=info
python -m fastscale_jax.main --config=configs/digits.py --workdir=runs/digits
fastscale train digits --workdir=runs/digits
"""

# Every command imports the modules below, so none of them imports JAX.

import errno
import os
import re
import sys
from typing import NoReturn

from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.cli.application import main
from fastscale_jax.targets.extras import leave_out_devices_that_are_not_here
from fastscale_jax.utils.console import FAILURE, complain, usage_error
from fastscale_jax.utils.garbage import collect_rarely
from fastscale_jax.utils.huge_pages import restart_with_huge_pages

# subcommands of `fastscale` that `--mode` accepts
MODES = ("train", "eval", "info", "time", "memory", "program", "predict", "export")


def face(command: str) -> NoReturn:
    """Runs one subcommand with the arguments of this process, and ends the process.

    For modules that can be run as commands, with `python -m`.
    """
    _run([command, *sys.argv[1:]])


def fastscale() -> NoReturn:
    """Runs `fastscale`."""
    _run(sys.argv[1:] or ["--help"])


def _run(tokens: list[str]) -> NoReturn:
    restart_with_huge_pages()
    collect_rarely()
    leave_out_devices_that_are_not_here()
    try:
        status = main(tokens)
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        # the reader of a pipe has ended, such as `head`, or the disk of the output is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.ENOSPC:
            complain(f"the output cannot be written: {error.strerror}")
        status = FAILURE
    try:
        sys.stderr.flush()
    except OSError:  # stderr is a log on a full disk; that must not change the status
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.exit(status)


def _with_mode(tokens: list[str]) -> list[str]:
    """The arguments, with the value of `--mode` as the subcommand in front."""
    rest, mode, waiting = [], "train", iter(tokens)
    for token in waiting:
        match = re.fullmatch(r"--?mode(?:=(.*))?", token)
        if match is None:
            rest.append(token)
        else:
            mode = match[1] if match[1] is not None else next(waiting, "")
    if mode not in MODES:
        question = did_you_mean(nearest(mode, MODES))
        sys.exit(usage_error(f"unknown --mode={mode}; {question}choose one of {', '.join(MODES)}"))
    if rest in (["--help"], ["-h"]):
        return ["--help"]
    return [mode, *rest]


def run() -> NoReturn:
    """Runs `python -m fastscale_jax.main`."""
    _run(_with_mode(sys.argv[1:]))


if __name__ == "__main__":
    run()
