"""Watches the other hosts of a run: whether they are alive and make progress.

If a host dies, the others wait for it in a reduction, on some machines without end. So each host
has a file in a shared folder; a thread writes a heartbeat and the step to it every few seconds. The
first host watches all others. They watch the first host, which passes on what it detects.

If the first host is gone, JAX's runtime ends a process at once, from C++, before we can print a
message. So each process has a witness: a small process that outlives it and prints who was lost.
This file has few imports, to keep the witness small.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from fastscale_jax.utils.json_file import read_object
from fastscale_jax.utils.whole_file import write_text

_LOST_STATUS = 1  # exit status of a host that stops because of another host
_ROOM = 512  # bytes of a host's file; later, longer content fits
_LAST_MOMENTS = 0.5  # seconds for a process to end after its host's last message


class Peers:
    """Watches the other hosts from a thread. Use it in a `with` statement."""

    def __init__(
        self,
        folder: pathlib.Path,
        index: int,
        count: int,
        *,
        dead_after: float = 30.0,
        hung_after: float = 1800.0,
        end: Callable[[str], Any] | None = None,
    ) -> None:
        """Stores the settings; watching starts in the `with` statement.

        Args:
            folder: folder of this run only, shared by all hosts; created if needed.
            index: index of this host.
            count: number of hosts.
            dead_after: seconds without a heartbeat after which a host is lost.
            hung_after: seconds without progress after which the run is stopped.
            end: called from the thread with a message; by default it prints the message and ends
                the process.
        """
        self._folder, self._index, self._count = folder, index, count
        self._dead_after, self._hung_after = dead_after, hung_after
        self._end = end or self._end_process
        self._progress = (0, 0)  # step, and number of beats within it
        self._moved = time.monotonic()
        self._seen: dict[int, tuple[Any, float]] = {}  # by host: last content, time of its change
        self._verdict: str | None = None
        self._reason = ""  # why this host stops
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._witness: subprocess.Popen[bytes] | None = None

    @classmethod
    def none(cls) -> "Peers":
        """Returns the peers of a single host; nothing is written or watched."""
        return cls(pathlib.Path(), 0, 1)

    def __enter__(self) -> Self:
        """Starts to watch."""
        if self._count > 1:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._thread.start()
            self._witness = self._with_witness()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Tells the others that this host leaves, with the error if there is one."""
        self.part(self._reason if error is None else _in_a_line(error))

    def part(self, reason: str) -> None:
        """Tells the others that this host leaves; call it before the process ends.

        Args:
            reason: why this host stops, and the others must; empty: the run is finished.
        """
        if self._count > 1:
            self._stop.set()
            self._thread.join()
            self._dismiss_witness()
            self._say(left=reason)  # even if empty: hosts that have left are not reported as lost
            self._outlast()

    def leave(self, reason: str) -> None:
        """Stores the reason to tell the others when this host stops."""
        self._reason = reason

    def beat(self, step: int | None = None) -> None:
        """Reports progress: a new step, or work within the last one."""
        last, moves = self._progress
        self._progress = (last, moves + 1) if step is None else (step, 0)
        self._moved = time.monotonic()

    @property
    def exist(self) -> bool:
        """Whether there are other hosts."""
        return self._count > 1

    def lost(self) -> None:
        """Waits until it is known whether a host is lost; if so, `end` is called."""
        deadline = time.monotonic() + 1.5 * self._dead_after * self.exist
        while self._verdict is None and time.monotonic() < deadline:
            time.sleep(0.1)

    def _outlast(self) -> None:
        """Keeps the first host alive until the others have left.

        JAX's coordination service runs in its process: when it ends, the others are ended too.
        """
        deadline = time.monotonic() + self._dead_after
        remaining = set(range(1, self._count)) if self._index == 0 else set()
        while remaining and time.monotonic() < deadline:
            remaining = {host for host in remaining if not _has_ended(self._read(host))}
            time.sleep(_LAST_MOMENTS)  # also once all have left: their processes must end first

    def _watch(self) -> None:
        while not self._stop.wait(min(2.0, self._dead_after / 10)):
            self._say()
            verdict = self._look()
            if verdict is not None and not self._stop.is_set():  # else this host is also leaving
                self._verdict = verdict
                self._dismiss_witness()
                self._say()
                self._end(verdict)
                return

    def _say(self, left: str | None = None) -> None:
        """Writes this host's file. If that fails, the others notice the missing heartbeat.

        On a full disk the existing file is overwritten in place, which takes no space.
        """
        content = {
            "process": os.getpid(),
            "time": time.time(),
            "progress": self._progress,
            "left": left,
            "verdict": self._verdict,
        }
        path = self._folder / f"{self._index}.json"
        text = json.dumps(content).ljust(_ROOM)
        try:
            write_text(path, text)
        except OSError:
            with contextlib.suppress(OSError), path.open("r+", encoding="utf-8") as file:
                file.write(text)

    def _look(self) -> str | None:
        """Returns the reason to end the run, or None."""
        now = time.monotonic()
        watched = range(1, self._count) if self._index == 0 else (0,)
        for host in watched:
            status = self._read(host)
            before, since = self._seen.get(host, (None, now))
            self._seen[host] = (status, now if status != before else since)
            if status is not None and status["verdict"]:
                return status["verdict"]
            if status is not None and status["left"] is not None:
                if status["left"]:
                    return f"host {host} stopped: {status['left']}"
                continue  # its run is finished
            if status == before and now - since > self._dead_after:
                return f"lost host {host}: no heartbeat for {now - since:.0f} s"
        if now - self._moved > self._hung_after:
            return self._explained_hang(now - self._moved)
        return None

    def _read(self, host: int) -> dict[str, Any] | None:
        try:
            status = read_object(self._folder / f"{host}.json")
        except (OSError, ValueError):  # missing or half written; a missing heartbeat is noticed
            return None
        return status if status.keys() >= {"left", "verdict"} else None

    def _with_witness(self) -> "subprocess.Popen[bytes]":
        about = (self._folder.absolute(), self._index, self._count, self._dead_after)
        command = [sys.executable, "-m", __name__, *map(str, about)]
        # A new session (on Windows a process group), so that Ctrl-C does not reach it.
        group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, start_new_session=True, creationflags=group
        )

    def _dismiss_witness(self) -> None:
        """Tells the witness that nothing is left to report."""
        witness, self._witness = self._witness, None
        if witness is not None:
            witness.communicate(b"said")

    def _end_process(self, verdict: str) -> None:
        """Ends the process at once: the main thread may be stuck in a reduction."""
        _print(verdict)
        os._exit(_LOST_STATUS)

    def testify(self) -> None:
        """In the witness, after its process has ended: prints which host was lost."""
        deadline = time.monotonic() + 1.5 * self._dead_after
        while time.monotonic() < deadline:
            verdict = self._look()
            if verdict is not None:
                _print(verdict)
                return
            time.sleep(min(1.0, self._dead_after / 10))

    def _explained_hang(self, seconds: float) -> str:
        progress = {self._index: self._progress}
        for host, (status, _) in self._seen.items():
            if status is not None:
                progress[host] = tuple(status["progress"])
        last = min(progress, key=lambda host: progress[host])
        if len(set(progress.values())) == 1:
            return f"no host has passed step {progress[last][0]} for {seconds:.0f} s"
        return f"host {last} has not passed step {progress[last][0]} for {seconds:.0f} s"


def _has_ended(status: dict[str, Any] | None) -> bool:
    return status is not None and (status["left"] is not None or status["verdict"] is not None)


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _print(verdict: str) -> None:
    line = f"\nfastscale_jax: {verdict}; start all hosts again to go on"
    print(line, flush=True, file=sys.stderr)


def _be_witness(folder: str, index: str, count: str, dead_after: str) -> None:
    if sys.stdin.buffer.read():  # returns when the process ends, or when it dismisses the witness
        return
    peers = Peers(pathlib.Path(folder), int(index), int(count), dead_after=float(dead_after))
    peers.testify()


if __name__ == "__main__":
    _be_witness(*sys.argv[1:])
