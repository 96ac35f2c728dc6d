"""A worker process that answers requests, one JSON line each, and may crash.

If a compiler aborts or a GPU is out of memory, only that request fails.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from fastscale_jax.measure.points import OUT_OF_MEMORY

FULL = "out of memory"  # `error` of a request that ran out of memory


class Workers:
    """Worker processes of one module, one at a time; after an error a new one is started."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        """Stores the settings; starts no process yet.

        Args:
            module: module that calls `serve`.
            environment: additional environment variables.
        """
        self._module, self._environment = module, {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._group = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, as long as this object
        self._mark = 0  # in the file: where this request's begin

    def ask(self, group: str, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Returns a worker's answer, or an `error`.

        Args:
            group: a request of another group starts a new process.
            request: request, ready for JSON.
            seconds: timeout.
        """
        if self._process is None or group != self._group:
            self._end()
            self._process, self._group = self._started(), group
        answer = self._answer(self._process, json.dumps(request).encode() + b"\n", seconds)
        if "error" in answer:
            self._end()
        return answer

    def close(self) -> None:
        """Ends the process and its child processes; call `ask` no more afterwards."""
        self._end()
        self._errors.close()

    def _end(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()
        self._process.wait()
        self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", self._module],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,  # `select` does not see data in a buffer
            start_new_session=True,  # so that its child processes can be ended with it
        )

    def _answer(
        self, process: subprocess.Popen[bytes], request: bytes, seconds: float
    ) -> dict[str, Any]:
        assert process.stdin
        assert process.stdout
        self._mark = os.lseek(self._errors.fileno(), 0, os.SEEK_END)
        line = b""
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            process.stdin.write(request)
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            if not ready:
                return {"error": f"not done after {seconds:.0f} s"}
            line = process.stdout.readline()
        return json.loads(line) if line else {"error": self._reason(process.wait())}

    def _reason(self, status: int) -> str:
        """The reason of a process's end: its failed check, or else its last line."""
        text = os.pread(self._errors.fileno(), 1 << 20, self._mark).decode(errors="replace")
        checks = [
            line[line.index("Check failed") :]
            for line in text.splitlines()
            if "Check failed" in line
        ]
        if not checks and any(sign in text for sign in OUT_OF_MEMORY):
            return FULL
        cause = (checks or text.strip().splitlines()[-1:] or ["no reason given"])[0][:300]
        return f"ended by signal {-status}: {cause}" if status < 0 else cause


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answers requests until there are no more.

    Args:
        answer: computes an answer; an exception becomes its `error`.
    """
    # output of libraries must not mix with the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # any error concerns this request only
            text = f"{type(error).__name__}: {error}"
            is_full = any(sign in text for sign in OUT_OF_MEMORY)
            reply = {"error": FULL if is_full else text.partition("\n")[0][:300]}
        print(json.dumps(reply), file=answers, flush=True)
