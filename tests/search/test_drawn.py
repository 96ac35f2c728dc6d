"""Networks that are drawn one after the other, by what came of those before."""

import contextlib
import dataclasses
import math
import random
import statistics
import subprocess
import sys

import pytest

from fastscale_jax.arch import count
from fastscale_jax.search.drawn import NSGA2, TPE, Drawn, Sampler
from fastscale_jax.search.jobs import DONE, Entry, front_of
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.search.sample import (
    DesignSpace,
    NothingFoundError,
    Range,
    Window,
    parameters_at,
    quasi_random,
    sample,
)
from tests.search import small

SPACE = DesignSpace(num_classes=10, resolution=Range(24, 24, 4))
WINDOW = Window(1e6, 4e6)


NUMBER = 8


def drawn(kind=NSGA2, number=NUMBER, **changes):
    sampler = Sampler(kind, "flops" if kind == NSGA2 else "")
    return Drawn(SPACE, WINDOW, sampler, number)._replace(**changes)


@contextlib.contextmanager
def opened(path, plan, about=None):
    with Ledger(f"sqlite:///{path}", "test", plan, about or {}) as ledger:
        yield ledger


def error_of(job):
    """In place of training: deeper is better, and flops help a little."""
    return 30 - 4 * math.log2(job.parameters["depth"]) - math.log10(job.costs["flops"])


def searched(path, plan):
    with opened(path, plan) as ledger:
        while (job := ledger.claim()) is not None:
            ledger.finish(error_of(job), {})
        return ledger.entries()


def check(entries, number):
    """All networks are done, different, and in the window."""
    assert [entry.job.number for entry in entries] == list(range(number))
    assert {entry.state for entry in entries} == {DONE}
    assert all(WINDOW.low <= count(x.job.network).flops <= WINDOW.high for x in entries)
    assert len({(x.job.network.stages, x.job.network.resolution) for x in entries}) == number


@pytest.mark.slow
def test_tpe_draws_where_errors_were_low(tmp_path):
    """The last six networks of 12 are better than random ones, in the mean."""
    entries = searched(tmp_path / "a.db", drawn(TPE, 12))
    check(entries, 12)
    errors = [entry.error for entry in entries[6:] if entry.error is not None]
    at_random = [
        30 - 4 * math.log2(x.parameters.depth) - math.log10(x.cost.flops)
        for x in sample(SPACE, WINDOW, 200)
    ]
    assert statistics.mean(errors) < statistics.mean(at_random) - statistics.stdev(at_random) / 2


@pytest.mark.slow
def test_one_worker_draws_the_same_again_and_goes_on_where_it_was(tmp_path):
    whole = searched(tmp_path / "a.db", drawn(number=16))
    check(whole, 16)
    with opened(tmp_path / "b.db", drawn(number=16)) as ledger:
        for _ in range(10):
            job = ledger.claim()
            assert job is not None
            ledger.finish(error_of(job), {})
        assert ledger.claim() is not None
        ledger.give_back()
    again = searched(tmp_path / "b.db", drawn(number=16))
    assert [x.job.parameters for x in again] == [x.job.parameters for x in whole]


@pytest.mark.slow
def test_the_front_has_no_network_that_another_is_ahead_of(tmp_path):
    entries = searched(tmp_path / "a.db", drawn(NSGA2, 20))
    front = front_of(entries, "flops")
    points = [(x.job.costs["flops"], x.error) for x in entries if x.error is not None]
    by_hand = [
        p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)
    ]
    assert [(x.job.costs["flops"], x.error) for x in front] == sorted(by_hand)


def test_times_of_several_machines_are_not_compared():
    one, other = ({"device": name, "step_ms": ms} for name, ms in (("H100", 5.0), ("EPYC", 500.0)))
    (first, second), errors = small.jobs(2), (2.0, 1.5)
    alike = [Entry(x, DONE, e, one) for x, e in zip((first, second), errors, strict=True)]
    assert front_of(alike, "step_ms") == [alike[1]]
    assert front_of([alike[0], dataclasses.replace(alike[1], facts=other)], "step_ms") == []


WORKER = """
import sys
from fastscale_jax.search.ledger import Ledger
from tests.search.test_drawn import drawn, error_of
with Ledger(sys.argv[1], "test", drawn(), {}) as ledger:
    while (job := ledger.claim()) is not None:
        ledger.finish(error_of(job), {})
"""


@pytest.mark.slow
def test_workers_draw_each_network_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    with opened(tmp_path / "a.db", drawn()) as ledger:
        entries = ledger.entries()
    check(entries, NUMBER)
    assert [entry.error for entry in entries] == [error_of(entry.job) for entry in entries]


def test_what_was_drawn_by_another_worker_first_is_not_overwritten(tmp_path):
    """Two draw network 0 at the same time: the second to write it down draws number 1 instead."""
    with opened(tmp_path / "a.db", drawn(number=2)) as one:
        with opened(tmp_path / "a.db", drawn(number=2)) as other:
            first = one.claim()
            assert first is not None
            differs = drawn(number=2, seed=1).next(())
            assert differs is not None
            assert differs.parameters != first.parameters
            assert not other._attempt(differs)
            second = other.claim()
            assert second is not None
        assert second.number == 1
        found = [entry.job.parameters for entry in one.entries()]
        assert found == [first.parameters, second.parameters]


def test_another_sampler_under_the_same_name_is_refused(tmp_path):
    with opened(tmp_path / "a.db", drawn(), {"sampler": {"kind": TPE}}):
        pass
    with (
        pytest.raises(ValueError, match=r"with sampler.kind: tpe, not nsga2; give"),
        opened(tmp_path / "a.db", drawn(NSGA2), {"sampler": {"kind": NSGA2}}),
    ):
        pass


def test_a_window_that_nothing_falls_into_is_said(tmp_path):
    plan = drawn(window=Window(10, 20), candidates=200)
    with (
        opened(tmp_path / "a.db", plan) as ledger,
        pytest.raises(NothingFoundError, match="of 200"),
    ):
        ledger.claim()


def test_where_a_sampler_finds_none_one_is_drawn_at_random(tmp_path, monkeypatch):
    monkeypatch.setattr("fastscale_jax.search.drawn._ASKED", 0)
    entries = searched(tmp_path / "a.db", drawn(number=5))
    wanted = sample(SPACE, WINDOW, 5)
    assert [x.job.parameters for x in entries] == [x.parameters._asdict() for x in wanted]


def test_a_quasi_random_sequence_covers_each_range_evenly():
    points = quasi_random(DesignSpace(), 0)
    least, most = parameters_at(DesignSpace(), [0.0] * 6), parameters_at(DesignSpace(), [1.0] * 6)
    low, high = math.log(least.wa), math.log(most.wa)
    even = [(i + 0.5) / 1024 for i in range(1024)]

    def unevenness(shares):
        return max(abs(x - y) for x, y in zip(sorted(shares), even, strict=True))

    found = [(math.log(next(points).wa) - low) / (high - low) for _ in even]
    assert unevenness(found) < 0.01
    assert unevenness(random.Random(0).random() for _ in even) > 0.015
