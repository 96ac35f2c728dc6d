"""The process that outlives a host to say who was lost."""

import subprocess
import threading
import time

import pytest

from fastscale_jax.distributed import peers
from fastscale_jax.distributed.peers import Peers


@pytest.mark.parametrize("flag", [0, 512], ids=["POSIX", "Windows"])
def test_ctrl_c_is_not_for_the_witness(monkeypatch, tmp_path, flag):
    started = []
    if flag:
        monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", flag, raising=False)
    monkeypatch.setattr(peers.subprocess, "Popen", lambda command, **rest: started.append(rest))
    Peers(tmp_path, 0, 2)._with_witness()
    (options,) = started
    assert options["start_new_session"]  # which Windows passes over
    assert options["creationflags"] == flag


def test_the_first_host_leaves_last(monkeypatch, tmp_path):
    monkeypatch.setattr(Peers, "_with_witness", lambda self: None)
    order = []

    def attend(index, seconds):
        with Peers(tmp_path, index, 2, end=order.append):
            time.sleep(seconds)
        order.append(index)

    hosts = [threading.Thread(target=attend, args=(index, index)) for index in range(2)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert order == [1, 0]


def test_the_first_host_waits_for_the_lost_no_longer_than_it_takes_to_miss_them(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(Peers, "_with_witness", lambda self: None)
    started = time.monotonic()
    with Peers(tmp_path, 0, 2, dead_after=2.0):
        pass
    assert 2 <= time.monotonic() - started < 20
