"""The process that outlives a host to say who was lost."""

import subprocess

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
