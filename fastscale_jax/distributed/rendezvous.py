"""Processes that are to train together find one another before JAX's runtime starts.

Where some do not come, `jax.distributed.initialize` aborts the others from C++ after its timeout:
Python cannot catch that, and the stack trace does not say who is missing. It also starts a run in
which a process was told too high a count. Here each of these is an error of one line. A wrong count
and two processes of the same number are refused at once.
"""

import contextlib
import selectors
import socket
import time


class ClusterError(Exception):
    """The processes of a run cannot be joined, or do not fit together."""


class ClusterUsageError(ClusterError):
    """What they were started with does not fit together."""


class RendezvousError(Exception):
    """The processes did not come together; says who is missing."""


class MismatchError(RendezvousError):
    """They were started with flags that do not fit together."""


_ALL_HERE, _MISMATCH = "all here", "mismatch: "


def gather(port: int, count: int, timeout: float) -> None:
    """Waits, as process 0, for all the others, and lets them go on.

    Args:
        port: to listen on, at all addresses of this machine; free again afterwards.
        count: of processes, this one among them.
        timeout: seconds.

    Raises:
        MismatchError: two are the same, or one has another count; those that came are told.
        RendezvousError: some did not come; likewise.
        OSError: the port cannot be used.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listener(port, count))
        came = _Guests(stack.enter_context(selectors.DefaultSelector()), listener, stack)
        problem, until = "", time.monotonic() + timeout
        while not problem and len(came.here) < count - 1 and time.monotonic() < until:
            problem = came.listen(max(0.0, until - time.monotonic()), count)
        missing = sorted({*range(1, count)} - {*came.here})
        if missing and not problem:
            problem = (
                f"{count - len(missing)} of {count} processes came within {timeout:g} s; missing: "
                f"{', '.join(map(str, missing))}"
            )
        came.tell(problem or _ALL_HERE)
        if problem.startswith(_MISMATCH):
            raise MismatchError(problem.removeprefix(_MISMATCH))
        if problem:
            raise RendezvousError(problem)


def _listener(port: int, backlog: int) -> socket.socket:
    """Listens to IPv4 and IPv6 alike: a name of this machine may stand for either."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # IPv6 is switched off; or the port is taken, said below
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog
            )
    return socket.create_server(("", port), backlog=backlog)


class _Guests:
    """Who has come so far; one that hangs up has not, and may come again."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        stack: contextlib.ExitStack,
    ) -> None:
        self.here: dict[int, socket.socket] = {}
        self._twins: list[socket.socket] = []
        self._said: dict[socket.socket, bytes] = {}  # by those that have not said a whole line
        self._selector, self._listener, self._stack = selector, listener, stack
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)

    def listen(self, seconds: float, count: int) -> str:
        """Waits for one to come, speak or go; returns what does not fit, or nothing."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._listener:
                with contextlib.suppress(OSError):
                    guest = self._stack.enter_context(self._listener.accept()[0])
                    guest.setblocking(False)
                    self._selector.register(guest, selectors.EVENT_READ)
                    self._said[guest] = b""
            elif isinstance(key.fileobj, socket.socket):
                problem = self._hear(key.fileobj, count)
                if problem:
                    return problem
        return ""

    def _hear(self, guest: socket.socket, count: int) -> str:
        try:
            heard = guest.recv(100)
        except OSError:
            heard = b""
        if not heard:
            self._selector.unregister(guest)
            self._said.pop(guest, None)
            self.here = {index: one for index, one in self.here.items() if one is not guest}
            return ""
        if guest not in self._said:
            return ""
        self._said[guest] += heard
        if b"\n" not in self._said[guest]:
            return ""
        try:
            index, theirs = map(int, self._said.pop(guest).split())
        except ValueError:  # ports are scanned
            return ""
        if index in self.here:
            self._twins.append(guest)
            return f"{_MISMATCH}two processes have --process_id={index}"
        self.here[index] = guest
        if theirs != count:
            return f"{_MISMATCH}process {index} has --num_processes={theirs}, and process 0 {count}"
        return ""

    def tell(self, line: str) -> None:
        """Says a line to all who came."""
        for guest in (*self.here.values(), *self._twins):
            with contextlib.suppress(OSError):
                guest.setblocking(True)
                guest.sendall(f"{line}\n".encode())


def arrive(host: str, port: int, index: int, count: int, timeout: float) -> None:
    """Waits, as another process than 0, until all are there.

    Args:
        host: of process 0.
        port: that it listens on.
        index: of this process.
        count: of processes.
        timeout: seconds.

    Raises:
        MismatchError: process 0 says that the flags do not fit together.
        RendezvousError: it cannot be reached, or says that others did not come.
    """
    until = time.monotonic() + timeout
    problem = "no answer; is process 0 running there, and the port open?"
    while (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=min(5, left)) as there:
                problem = "process 0 is there, and still waits for others"
                there.sendall(f"{index} {count}\n".encode())
                there.settimeout(max(0.01, until - time.monotonic()) + 1)  # it gives up first
                answer = _line(there)
        except TimeoutError:
            continue
        except (OSError, UnicodeError) as error:  # of a host's name that is none
            reason = getattr(error, "strerror", None) or str(error)
            problem = f"{reason}; is process 0 running there, and the port open?"
            time.sleep(0.5)
            continue
        if answer == _ALL_HERE:
            return
        if answer.startswith(_MISMATCH):
            raise MismatchError(answer.removeprefix(_MISMATCH))
        if answer:
            raise RendezvousError(answer)
        time.sleep(0.5)  # it hung up: perhaps it starts again
    raise RendezvousError(
        f"the coordinator {host}:{port} cannot be reached within {timeout:g} s "
        f"(--cluster_timeout): {problem}"
    )


def _line(connection: socket.socket) -> str:
    with connection.makefile("r", encoding="utf-8", errors="replace") as file:
        return file.readline(1000).strip()
