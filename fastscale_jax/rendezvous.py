"""Processes that are to train together find one another before JAX's runtime starts.

The runtime ends a process with a stack trace when others do not come; here it is said who did not.
"""

import contextlib
import socket
import time


class RendezvousError(Exception):
    """The processes did not come together; says who is missing, or what does not fit."""


_ALL_HERE = "all here"


def gather(host: str, port: int, count: int, timeout: float) -> None:
    """Waits, as process 0, for all the others, and lets them go on.

    Args:
        host: by which the others know this machine.
        port: to listen on; free again afterwards.
        count: of processes, this one among them.
        timeout: seconds.

    Raises:
        RendezvousError: some did not come, two are the same, or one has another count; the others
            are told.
        OSError: the port cannot be used.
    """
    with contextlib.ExitStack() as stack:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = stack.enter_context(
            socket.create_server(("", port), family=family, backlog=count)
        )
        came: list[tuple[int, socket.socket]] = []
        problem, until = "", time.monotonic() + timeout
        while len(came) < count - 1 and not problem and time.monotonic() < until:
            listener.settimeout(max(0.01, until - time.monotonic()))
            try:
                guest = stack.enter_context(listener.accept()[0])
                index, theirs = map(int, _line(guest).split())
            except (OSError, ValueError):  # nobody, or nobody of ours: ports are scanned
                continue
            if index in dict(came):
                problem = f"two processes have --process_id={index}"
            elif theirs != count:
                problem = f"process {index} has --num_processes={theirs}, and process 0 {count}"
            came.append((index, guest))
        missing = sorted({*range(1, count)} - {*dict(came)})
        if missing and not problem:
            problem = (
                f"{count - len(missing)} of {count} processes came within {timeout:g} s; missing: "
                f"{', '.join(map(str, missing))}"
            )
        for _, guest in came:
            with contextlib.suppress(OSError):
                guest.sendall(f"{problem or _ALL_HERE}\n".encode())
        if problem:
            raise RendezvousError(problem)


def arrive(host: str, port: int, index: int, count: int, timeout: float) -> None:
    """Waits, as another process than 0, until all are there.

    Args:
        host: of process 0.
        port: that it listens on.
        index: of this process.
        count: of processes.
        timeout: seconds.

    Raises:
        RendezvousError: process 0 cannot be reached, or says that something does not fit.
    """
    until, problem = time.monotonic() + timeout, "no answer"
    while (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=min(5, left)) as there:
                there.sendall(f"{index} {count}\n".encode())
                there.settimeout(max(0.01, until - time.monotonic()) + 1)  # it gives up first
                answer = _line(there)
        except OSError as error:
            problem = error.strerror or str(error)
            time.sleep(0.5)
            continue
        if answer == _ALL_HERE:
            return
        if answer:
            raise RendezvousError(answer)
        time.sleep(0.5)  # it hung up: perhaps it starts again
    raise RendezvousError(
        f"the coordinator {host}:{port} cannot be reached within {timeout:g} s "
        f"(--cluster_timeout): {problem}; is process 0 running there, and the port open?"
    )


def _line(connection: socket.socket) -> str:
    """What the other side says, up to the end of the line; a stranger may say nothing."""
    if connection.gettimeout() is None:
        connection.settimeout(5)
    with connection.makefile("r", encoding="utf-8", errors="replace") as file:
        return file.readline(1000).strip()
