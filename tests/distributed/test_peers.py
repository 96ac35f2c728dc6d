"""The process that outlives a host to say who was lost."""

import errno
import math
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


def test_a_host_that_parts_says_why_to_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr(Peers, "_with_witness", lambda self: None)
    first, second = Peers(tmp_path, 0, 2, dead_after=0.1), Peers(tmp_path, 1, 2)
    with second:
        second.part("interrupted")
        assert first._look() == "host 1 stopped: interrupted"


def test_a_host_that_is_leaving_is_not_ended_by_what_it_then_sees(tmp_path):
    ended = []
    second = Peers(tmp_path, 1, 2, dead_after=0.1, end=ended.append)

    def look():
        second._stop.set()  # it parts just now
        return "host 0 stopped: interrupted"

    second._look = look
    second._watch()
    assert ended == []


def test_signs_of_life_come_through_on_a_full_disk(monkeypatch, tmp_path):
    first, second = Peers(tmp_path, 0, 2), Peers(tmp_path, 1, 2)
    second._say()
    space = (tmp_path / "1.json").stat().st_blocks

    def write_anew(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(peers, "write_text", write_anew)
    for step in (10, 20):
        second.beat(step)
        second._say()
        assert first._read(1)["progress"] == [step, 0]
    assert (tmp_path / "1.json").stat().st_blocks == space  # it was written in its own place


class Clock:
    """Time that passes by sleeping; at a given second something happens."""

    def __init__(self, at=math.inf, happens=None):
        self.now, self.at, self.happens = 0.0, at, happens

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.happens and self.now >= self.at:
            self.happens()

    def time(self):
        return self.now


@pytest.mark.parametrize(
    ("index", "leaves_at", "until"),
    [
        (0, 3.0, 4.0),  # and a moment more, for the other process to end
        (0, math.inf, 10.0),  # when it is missed
        (1, math.inf, 0.0),
    ],
)
def test_the_first_host_waits_for_the_others_to_leave(
    monkeypatch, tmp_path, index, leaves_at, until
):
    other = Peers(tmp_path, 1 - index, 2)
    clock = Clock(leaves_at, lambda: other._say(left=""))
    monkeypatch.setattr(peers, "time", clock)
    Peers(tmp_path, index, 2, dead_after=10.0)._outlast()
    assert clock.now == pytest.approx(until, abs=0.51)


def test_a_host_that_was_told_why_the_run_ends_has_left_too(monkeypatch, tmp_path):
    other = Peers(tmp_path, 1, 2)
    other._verdict = "lost host 0"
    other._say()
    clock = Clock()
    monkeypatch.setattr(peers, "time", clock)
    Peers(tmp_path, 0, 2, dead_after=10.0)._outlast()
    assert clock.now < 1
