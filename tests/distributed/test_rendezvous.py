"""Processes that meet before JAX's runtime starts; here each is a thread."""

import concurrent.futures
import contextlib
import socket
import time

import pytest

from fastscale_jax.distributed.rendezvous import RendezvousError, arrive, gather
from tests.commands import free_port

HERE = "127.0.0.1"


def met(
    *others: tuple[int, int], count: int, timeout: float = 20.0, stranger: bytes | None = None
) -> list[str]:
    """What process 0 and the others, each with its index and its count, say; empty: they met.

    A stranger sends something before they come, and stays on the line.
    """
    port = free_port()

    def said(function, *args) -> str:
        try:
            function(*args)
        except RendezvousError as error:
            return str(error)
        return ""

    with concurrent.futures.ThreadPoolExecutor() as pool, contextlib.ExitStack() as open_lines:
        waiting = [pool.submit(said, gather, port, count, timeout)]
        if stranger is not None:
            open_lines.enter_context(connected(port)).sendall(stranger)
        for index, theirs in others:
            time.sleep(0.1)  # the order is theirs
            waiting.append(pool.submit(said, arrive, HERE, port, index, theirs, timeout))
        return [one.result() for one in waiting]


def connected(port: int) -> socket.socket:
    """A line to process 0, as soon as it listens."""
    until = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection((HERE, port))
        except OSError:
            assert time.monotonic() < until


def test_all_go_on_when_all_are_there():
    assert met((2, 3), (1, 3), count=3) == ["", "", ""]
    assert met(count=1) == [""]


def test_who_is_missing_is_said_to_all():
    said = met((2, 4), count=4, timeout=1.5)
    assert said == ["2 of 4 processes came within 1.5 s; missing: 1, 3"] * 2


@pytest.mark.parametrize(
    ("others", "problem"),
    [
        ([(1, 3), (1, 3)], "two processes have --process_id=1"),
        ([(1, 5)], "process 1 has --num_processes=5, but process 0 has 3"),
    ],
)
def test_processes_that_do_not_fit_are_told_so_at_once(others, problem):
    assert met(*others, count=3) == [problem] * (1 + len(others))


def test_one_that_hangs_up_may_come_again():
    port = free_port()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = [pool.submit(gather, port, 3, 20.0)]
        with connected(port) as first:
            first.sendall(b"1 3\n")
        waiting += [pool.submit(arrive, HERE, port, index, 3, 20.0) for index in (1, 2)]
        assert [one.result() for one in waiting] == [None] * 3


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_stranger_is_not_counted_and_keeps_nobody_waiting(sent):
    assert met((1, 2), count=2, stranger=sent) == ["", ""]


def test_the_first_may_come_last():
    port = free_port()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(arrive, HERE, port, 1, 2, 20.0)
        time.sleep(0.5)  # it finds nobody, and tries again
        assert gather(port, 2, 20.0) is None
        assert waiting.result() is None


def test_one_that_cannot_be_reached_is_said_with_why():
    port = free_port()
    with pytest.raises(RendezvousError, match=rf"{HERE}:{port} cannot be reached within 0\.6 s"):
        arrive(HERE, port, 1, 2, 0.6)


def _has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(
    "address",
    [HERE, pytest.param("::1", marks=pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here"))],
)
def test_a_name_may_stand_for_an_address_of_either_kind(monkeypatch, address):
    """As of a machine whose name has no IPv4 address."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        return resolve(address if host == "host-0" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    port = free_port()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(gather, port, 2, 20.0)
        arrive("host-0", port, 1, 2, 20.0)
        assert waiting.result() is None
