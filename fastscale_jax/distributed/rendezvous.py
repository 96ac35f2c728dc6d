"""Connects the processes of a run before JAX's runtime starts.

If processes are missing, `jax.distributed.initialize` aborts the others from C++ after its timeout:
Python cannot catch that, and the stack trace does not name the missing ones. It also starts a run
in which one process has too high a count. In this file each problem is an error of one line. A
wrong count and two processes with the same index are refused at once.
"""

import contextlib
import selectors
import socket
import time


class ClusterError(Exception):
    """The processes of a run cannot be joined, or do not fit together."""


class ClusterUsageError(ClusterError):
    """The processes were started with inconsistent flags."""


class RendezvousError(Exception):
    """Not all processes connected; the message says who is missing."""


class MismatchError(RendezvousError):
    """Processes have inconsistent flags."""


_ALL_HERE, _MISMATCH = "all here", "mismatch: "


def gather(port: int, count: int, timeout: float) -> None:
    """In process 0: waits for all other processes, then tells them to continue.

    Args:
        port: the port to listen on, at all addresses of this machine; it is closed afterwards.
        count: number of processes, including this one.
        timeout: seconds to wait.

    Raises:
        MismatchError: two have the same index, or one has another count; connected ones are told.
        RendezvousError: some did not connect; connected ones are told.
        OSError: the port cannot be used.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listener(port, count))
        guests = _Guests(stack.enter_context(selectors.DefaultSelector()), listener, stack)
        problem, until = "", time.monotonic() + timeout
        while not problem and len(guests.connected) < count - 1 and time.monotonic() < until:
            problem = guests.listen(max(0.0, until - time.monotonic()), count)
        missing = sorted({*range(1, count)} - {*guests.connected})
        if missing and not problem:
            problem = (
                f"{count - len(missing)} of {count} processes came within {timeout:g} s; missing: "
                f"{', '.join(map(str, missing))}"
            )
        guests.tell(problem or _ALL_HERE)
        if problem.startswith(_MISMATCH):
            raise MismatchError(problem.removeprefix(_MISMATCH))
        if problem:
            raise RendezvousError(problem)


def _listener(port: int, backlog: int) -> socket.socket:
    """Listens on IPv4 and IPv6: a name of this machine may mean either."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):  # no IPv6; or the port is in use: the last line raises
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog
            )
    return socket.create_server(("", port), backlog=backlog)


class _Guests:
    """The processes that are connected; one that disconnects may connect again."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        stack: contextlib.ExitStack,
    ) -> None:
        self.connected: dict[int, socket.socket] = {}
        self._twins: list[socket.socket] = []
        self._received: dict[socket.socket, bytes] = {}  # incomplete lines
        self._selector, self._listener, self._stack = selector, listener, stack
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)

    def listen(self, seconds: float, count: int) -> str:
        """Waits for a connection, a message or a disconnection; returns a mismatch, or ''."""
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._listener:
                with contextlib.suppress(OSError):
                    guest = self._stack.enter_context(self._listener.accept()[0])
                    guest.setblocking(False)
                    self._selector.register(guest, selectors.EVENT_READ)
                    self._received[guest] = b""
            elif isinstance(key.fileobj, socket.socket):
                problem = self._hear(key.fileobj, count)
                if problem:
                    return problem
        return ""

    def _hear(self, guest: socket.socket, count: int) -> str:
        try:
            data = guest.recv(100)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(guest)
            self._received.pop(guest, None)
            self.connected = {
                index: connection
                for index, connection in self.connected.items()
                if connection is not guest
            }
            return ""
        if guest not in self._received:
            return ""
        self._received[guest] += data
        if b"\n" not in self._received[guest]:
            return ""
        try:
            index, their_count = map(int, self._received.pop(guest).split())
        except ValueError:  # not ours: port scanners connect too
            return ""
        if index in self.connected:
            self._twins.append(guest)
            return f"{_MISMATCH}two processes have --process_id={index}"
        self.connected[index] = guest
        if their_count != count:
            return (
                f"{_MISMATCH}process {index} has --num_processes={their_count}, "
                f"but process 0 has {count}"
            )
        return ""

    def tell(self, line: str) -> None:
        """Sends a line to all connected processes."""
        for guest in (*self.connected.values(), *self._twins):
            with contextlib.suppress(OSError):
                guest.setblocking(True)
                guest.sendall(f"{line}\n".encode())


def arrive(host: str, port: int, index: int, count: int, timeout: float) -> None:
    """In other processes than 0: connects to process 0, and waits until all are connected.

    Args:
        host: host of process 0.
        port: port of process 0.
        index: index of this process.
        count: number of processes.
        timeout: seconds to wait.

    Raises:
        MismatchError: process 0 reports inconsistent flags.
        RendezvousError: process 0 cannot be reached, or reports missing processes.
    """
    until = time.monotonic() + timeout
    problem = "no answer; is process 0 running there, and the port open?"
    while (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=min(5, left)) as connection:
                problem = "process 0 is there, and still waits for others"
                connection.sendall(f"{index} {count}\n".encode())
                # one second more: process 0 gives up first
                connection.settimeout(max(0.01, until - time.monotonic()) + 1)
                answer = _line(connection)
        except TimeoutError:
            continue
        except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
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
        time.sleep(0.5)  # process 0 disconnected: it may be restarting
    raise RendezvousError(
        f"the coordinator {host}:{port} cannot be reached within {timeout:g} s "
        f"(--cluster_timeout): {problem}"
    )


def _line(connection: socket.socket) -> str:
    with connection.makefile("r", encoding="utf-8", errors="replace") as file:
        return file.readline(1000).strip()
