"""The other hosts of a run: whether they are alive, and get on.

Where one of them dies, the others wait for it in a reduction; on some machines for ever. So each
host has a file in a folder that all of them see, and a thread that writes to it every few seconds:
that it is there, and at which step. The first host watches all others, and they watch the first,
which passes on what it finds.

JAX's own runtime ends a process on the spot, from C++, where the first host is gone; no line of
ours can come before. So each process has a witness, a small process that outlives it, and says then
who was lost. This file imports nothing that would make it large.
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

_OWN_END = 1  # exit status of a host whose run another one ended
_ROOM = 512  # bytes of a host's file, so that what is said later fits into it
_LAST_MOMENTS = 0.5  # seconds that a process has to end in after its host's last word


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
        """Takes who there is; nothing is watched before the `with` statement is entered.

        Args:
            folder: that all hosts see, and no other run; made if need be.
            index: of this host.
            count: hosts.
            dead_after: seconds without a word, after which a host is lost.
            hung_after: seconds without progress, after which the run is given up.
            end: called from the thread with what happened; by default it prints that and ends the
                process.
        """
        self._folder, self._index, self._count = folder, index, count
        self._dead_after, self._hung_after = dead_after, hung_after
        self._end = end or self._end_process
        self._progress = (0, 0)  # step, and moves within it
        self._moved = time.monotonic()
        self._seen: dict[int, tuple[Any, float]] = {}  # by host: what it last said, and when
        self._verdict: str | None = None
        self._reason = ""  # why it stops
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._witness: subprocess.Popen[bytes] | None = None

    @classmethod
    def none(cls) -> "Peers":
        """Returns the peers of a host that is alone; nothing is written or watched."""
        return cls(pathlib.Path(), 0, 1)

    def __enter__(self) -> Self:
        """Starts to watch."""
        if self._count > 1:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._thread.start()
            self._witness = self._with_witness()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Says goodbye to the others, with what went wrong if anything did."""
        self.part(self._reason if error is None else _in_a_line(error))

    def part(self, reason: str) -> None:
        """Says goodbye to the others, before this process ends.

        Args:
            reason: why it does, and theirs have to; empty: it came to its end.
        """
        if self._count > 1:
            self._stop.set()
            self._thread.join()
            self._dismiss_witness()
            self._say(left=reason)  # even if empty: who has left is not missed
            self._outlast()

    def leave(self, reason: str) -> None:
        """Tells the others why this host stops, where they cannot know."""
        self._reason = reason

    def beat(self, step: int | None = None) -> None:
        """Tells that the run gets on: at a step, or within the last one."""
        last, moves = self._progress
        self._progress = (last, moves + 1) if step is None else (step, 0)
        self._moved = time.monotonic()

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return self._count > 1

    def lost(self) -> None:
        """Waits for as long as it takes to know whether a host was lost; if so, `end` is called."""
        deadline = time.monotonic() + 1.5 * self._dead_after * self.exist
        while self._verdict is None and time.monotonic() < deadline:
            time.sleep(0.1)

    def _outlast(self) -> None:
        """Keeps the first host alive until the others have left.

        JAX's runtime lives in its process: when that ends, it ends theirs.
        """
        deadline = time.monotonic() + self._dead_after
        waits = set(range(1, self._count)) if self._index == 0 else set()
        while waits and time.monotonic() < deadline:
            waits = {host for host in waits if not _has_ended(self._read(host))}
            time.sleep(_LAST_MOMENTS)  # after the last one has left too, for its process to end

    def _watch(self) -> None:
        while not self._stop.wait(min(2.0, self._dead_after / 10)):
            self._say()
            verdict = self._look()
            if verdict is not None and not self._stop.is_set():  # else it is leaving, too
                self._verdict = verdict
                self._dismiss_witness()
                self._say()
                self._end(verdict)
                return

    def _say(self, left: str | None = None) -> None:
        """Writes this host's file. Where that fails, the others notice the silence.

        On a full disk the file that is there is written anew: that takes no space.
        """
        told = {
            "process": os.getpid(),
            "time": time.time(),
            "progress": self._progress,
            "left": left,
            "verdict": self._verdict,
        }
        path = self._folder / f"{self._index}.json"
        content = json.dumps(told).ljust(_ROOM)
        try:
            write_text(path, content)
        except OSError:
            with contextlib.suppress(OSError), path.open("r+", encoding="utf-8") as file:
                file.write(content)

    def _look(self) -> str | None:
        """Returns what ends the run, if anything does."""
        now = time.monotonic()
        watched = range(1, self._count) if self._index == 0 else (0,)
        for host in watched:
            told = self._read(host)
            before, since = self._seen.get(host, (None, now))
            self._seen[host] = (told, now if told != before else since)
            if told is not None and told["verdict"]:
                return told["verdict"]
            if told is not None and told["left"] is not None:
                if told["left"]:
                    return f"host {host} stopped: {told['left']}"
                continue  # it came to its end
            if told == before and now - since > self._dead_after:
                return f"lost host {host}: no sign of life for {now - since:.0f} s"
        if now - self._moved > self._hung_after:
            return self._explained_hang(now - self._moved)
        return None

    def _read(self, host: int) -> dict[str, Any] | None:
        try:
            told = read_object(self._folder / f"{host}.json")
        except (OSError, ValueError):  # not there yet, or half of it; silence is noticed
            return None
        return told if told.keys() >= {"left", "verdict"} else None

    def _with_witness(self) -> "subprocess.Popen[bytes]":
        about = (self._folder.absolute(), self._index, self._count, self._dead_after)
        command = [sys.executable, "-m", __name__, *map(str, about)]
        # A session of its own, which is a group on Windows: Ctrl-C is not for it.
        group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, start_new_session=True, creationflags=group
        )

    def _dismiss_witness(self) -> None:
        """Tells it that all has been said."""
        witness, self._witness = self._witness, None
        if witness is not None:
            witness.communicate(b"said")

    def _end_process(self, verdict: str) -> None:
        """Ends the process at once: the main thread may wait in a reduction that never ends."""
        _print(verdict)
        os._exit(_OWN_END)

    def testify(self) -> None:
        """Says who was lost, in the witness, once the process that it belongs to has ended."""
        deadline = time.monotonic() + 1.5 * self._dead_after
        while time.monotonic() < deadline:
            verdict = self._look()
            if verdict is not None:
                _print(verdict)
                return
            time.sleep(min(1.0, self._dead_after / 10))

    def _explained_hang(self, seconds: float) -> str:
        places = {self._index: self._progress}
        for host, (told, _) in self._seen.items():
            if told is not None:
                places[host] = tuple(told["progress"])
        last = min(places, key=lambda host: places[host])
        if len(set(places.values())) == 1:
            return f"no host gets past step {places[last][0]} for {seconds:.0f} s"
        return f"host {last} does not get past step {places[last][0]} for {seconds:.0f} s"


def _has_ended(told: dict[str, Any] | None) -> bool:
    return told is not None and (told["left"] is not None or told["verdict"] is not None)


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _print(verdict: str) -> None:
    line = f"\nfastscale_jax: {verdict}; start all hosts again to go on"
    print(line, flush=True, file=sys.stderr)


def _be_witness(folder: str, index: str, count: str, dead_after: str) -> None:
    if sys.stdin.buffer.read():  # until the process ends, or says that all has been said
        return
    peers = Peers(pathlib.Path(folder), int(index), int(count), dead_after=float(dead_after))
    peers.testify()


if __name__ == "__main__":
    _be_witness(*sys.argv[1:])
