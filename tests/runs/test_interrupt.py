"""Signals are heard between two steps, whatever the operating system has for it."""

import os
import signal
import threading

import pytest

from fastscale_jax.runs import interrupt
from fastscale_jax.runs.interrupt import Interrupts


def set_wakeup_fd_of_windows(
    fd, *, ours=signal.set_wakeup_fd, set_blocking=os.set_blocking, **rest
):
    """Takes a pipe whose writer may wait, as Linux does not."""
    if fd >= 0:
        set_blocking(fd, False)
    return ours(fd, **rest)


@pytest.fixture(params=["Linux", "macOS", "Windows"])
def system(request, monkeypatch):
    """Lacks what these systems lack; Windows before Python 3.12."""
    if request.param != "Linux":
        monkeypatch.delattr(os, "pipe2")
    if request.param == "Windows":
        monkeypatch.delattr(os, "set_blocking")
        monkeypatch.setattr(signal, "set_wakeup_fd", set_wakeup_fd_of_windows)


def test_a_signal_is_told_of_at_once_and_remembered(system):
    before, told, heard = signal.getsignal(signal.SIGTERM), [], threading.Event()

    def tell(line):
        told.append(line)
        heard.set()

    with Interrupts(tell) as interrupts:
        assert interrupts.came is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard.wait(10)
        assert interrupts.came is signal.SIGTERM
    assert told == ["SIGTERM: saving, then stopping"]
    assert signal.getsignal(signal.SIGTERM) is before
    assert all(thread.name != "interrupts" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("hosts", "is_all_saved", "leaves"), [(1, False, True), (2, True, True), (2, False, False)]
)
def test_of_several_hosts_one_leaves_at_once_only_where_all_is_saved(
    monkeypatch, hosts, is_all_saved, leaves
):
    monkeypatch.setattr(interrupt.jax, "process_count", lambda: hosts)
    left, told = threading.Event(), threading.Event()
    with (
        Interrupts(lambda line: told.set()) as interrupts,
        interrupts.at_rest(lambda which: left.set(), is_all_saved=is_all_saved),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.wait(10)
        assert left.wait(10 if leaves else 0.2) == leaves


def test_no_program_inherits_the_pipe_and_no_signal_waits_for_its_reader(monkeypatch):
    pipes, pipe = [], os.pipe
    monkeypatch.delattr(os, "pipe2")
    monkeypatch.setattr(os, "pipe", lambda: pipes.append(pipe()) or pipes[-1])
    with Interrupts():
        ((reading, writing),) = pipes
        assert not os.get_inheritable(reading)
        assert not os.get_inheritable(writing)
        assert os.get_blocking(reading)
        assert not os.get_blocking(writing)
