"""In rounds, networks wait for each other, and exactly the better ones go on."""

import contextlib
import random

import pytest

from fastscale_jax.search import work
from fastscale_jax.search.halving import Halving, Verdict
from fastscale_jax.search.job_plan import Listed
from fastscale_jax.search.jobs import AT_WORK, DONE, FAILED, PAUSED, STOPPED, WAITING
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.search.outcome import trained_epochs
from fastscale_jax.search.training import HaltedError
from tests.search.small import jobs

EPOCHS = 10


@contextlib.contextmanager
def opened(path, number, start=2, factor=2):
    halving = Halving(start, factor, in_rounds=True, epochs=EPOCHS)
    with Ledger(f"sqlite:///{path}", "test", Listed(jobs(number)), {}, halving=halving) as ledger:
        yield ledger


def train(ledger, job, errors, done):
    """In place of training: goes on after the epochs done, reports, and ends as it is told."""
    for epochs in range(done.get(job.number, 0) + 1, EPOCHS):
        done[job.number] = epochs
        if epochs % ledger.reports_every:
            continue
        verdict = ledger.report(epochs, errors[job.number][epochs])
        if verdict is Verdict.PAUSE:
            return ledger.pause()
        if verdict is Verdict.STOP:
            return ledger.stop(epochs, errors[job.number][epochs])
    done[job.number] = EPOCHS
    return ledger.finish(errors[job.number][EPOCHS], {"epochs": float(EPOCHS)})


def take(ledger, number):
    job = ledger.claim()
    assert job is not None
    assert job.number == number


def drawn(number):
    """Errors that change their order from epoch to epoch, some of them equal."""
    draw = random.Random(number)
    return [{n: float(draw.randrange(30)) for n in range(1, EPOCHS + 1)} for _ in range(number)]


def by_hand(errors, start, factor):
    """The rule in its own words: the epochs that each network is trained for."""
    lengths, left, end = [EPOCHS] * len(errors), list(range(len(errors))), start
    while end * factor <= EPOCHS:
        left.sort(key=lambda i: (errors[i][end], i))
        most = max(1, len(left) // factor)
        for i in left[most:]:
            lengths[i] = end
        left, end = left[:most], end * factor
    return lengths


@pytest.mark.parametrize(
    ("number", "start", "factor"),
    [pytest.param(24, 2, 2, marks=pytest.mark.slow), (7, 1, 3), (1, 2, 2), (9, 3, 2)],
)
def test_a_lone_worker_trains_each_network_for_as_long_as_the_rule_says(
    tmp_path, number, start, factor
):
    errors, done = drawn(number), {}
    with opened(tmp_path / "a.db", number, start, factor) as ledger:
        while (job := ledger.claim()) is not None:
            train(ledger, job, errors, done)
        entries = ledger.entries()
    lengths = by_hand(errors, start, factor)
    assert [done[i] for i in range(number)] == lengths
    states = [DONE if length == EPOCHS else STOPPED for length in lengths]
    assert [entry.state for entry in entries] == states
    for entry, length in zip(entries, lengths, strict=True):
        if entry.state == STOPPED:
            error = errors[entry.job.number][length]
            assert entry.facts == {"stopped_at": length, "error_then": error}
            assert entry.worker
    if STOPPED in states:
        said = f"trained: {sum(lengths)} epochs instead of {EPOCHS * number}; "
        assert trained_epochs(entries)[0].startswith(said)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_the_order_of_several_workers_and_lost_ones_change_nothing(tmp_path, seed):
    errors, done, draw = drawn(12), {}, random.Random(seed)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(opened(tmp_path / "a.db", 12)) for _ in range(3)]
        held, lost = {}, set()
        while True:
            i = draw.randrange(3)
            if i not in held:
                if (job := workers[i].claim()) is not None:
                    held[i] = job
                elif not held:
                    break
            elif draw.random() < 0.2 and held[i].number not in lost:
                lost.add(held[i].number)  # once each: three times would be too often
                workers[i].fail_here("lost")
                del held[i]
            else:
                train(workers[i], held.pop(i), errors, done)
        entries = workers[0].entries()
    assert lost
    lengths = by_hand(errors, 2, 2)
    assert [done[i] for i in range(12)] == lengths
    assert [entry.state == DONE for entry in entries] == [n == EPOCHS for n in lengths]


def test_who_reported_waits_until_all_have_and_the_last_goes_straight_on(tmp_path):
    with opened(tmp_path / "a.db", 3) as ledger:
        for number, verdict in ((0, Verdict.PAUSE), (1, Verdict.PAUSE), (2, Verdict.GO_ON)):
            take(ledger, number)
            assert ledger.report(2, 5.0 - number) is verdict
            assert ledger.entries()[number].state == AT_WORK
            if verdict is Verdict.PAUSE:
                ledger.pause()
                states = [PAUSED] * (number + 1) + [WAITING] * (2 - number)
                assert [entry.state for entry in ledger.entries()] == states
                assert ledger.entries()[number].reason == f"{5 - number:.2f} % error after 2 epochs"
        assert [entry.state for entry in ledger.entries()] == [STOPPED, STOPPED, AT_WORK]
        assert ledger.report(3, 9.0) is Verdict.GO_ON  # nothing is compared after three epochs
        ledger.give_back()
    with opened(tmp_path / "a.db", 3) as ledger:
        assert [entry.state for entry in ledger.entries()] == [STOPPED, STOPPED, WAITING]
        take(ledger, 2)
        assert ledger.report(2, 3.0) is Verdict.GO_ON  # its run tells its errors anew
        assert ledger.report(4, 9.0) is Verdict.GO_ON  # it is the only one
        ledger.finish(1.0, {"epochs": 10.0})
        assert ledger.claim() is None


def test_nobody_waits_for_a_network_that_failed_or_that_had_no_error_to_report(tmp_path):
    with opened(tmp_path / "a.db", 4) as ledger:
        for number in range(4):
            take(ledger, number)
            if number < 2:
                assert ledger.report(2, 5.0 - number) is Verdict.PAUSE
                ledger.pause()
            elif number == 2:
                ledger.fail("the loss is nan")
            else:
                ledger.finish(0.5, {"epochs": 10.0})  # its error after two epochs was not finite
        states = [STOPPED, WAITING, FAILED, DONE]
        assert [entry.state for entry in ledger.entries()] == states


def test_the_next_best_continues_in_place_of_one_that_fails(tmp_path):
    """Of four, two go on to four epochs and one to the end; the best of all fails after six."""
    with opened(tmp_path / "a.db", 4) as ledger:
        for number in range(4):
            take(ledger, number)
            ledger.report(2, 1.0 + number)
            ledger.pause()
        for number in (0, 1):
            take(ledger, number)
            ledger.report(4, 1.0 + number)
            ledger.pause()
        assert [x.state for x in ledger.entries()] == [WAITING, STOPPED, STOPPED, STOPPED]
        assert ledger.claim() is not None
        assert ledger.report(6, 1.0) is Verdict.GO_ON
        ledger.fail("the loss is nan")
        # the second of the same round; the third was worse than both in the round before
        assert [x.state for x in ledger.entries()] == [FAILED, WAITING, STOPPED, STOPPED]
        take(ledger, 1)
        assert [ledger.report(epochs, 9.0) for epochs in (2, 4, 6, 8)] == [Verdict.GO_ON] * 4
        ledger.finish(1.0, {"epochs": 10.0})
        assert ledger.claim() is None


def test_who_claims_a_job_that_another_has_paused_meanwhile_pauses_too(tmp_path, monkeypatch):
    """It saw the job free, and the other trained and paused it before the claim was stored."""
    with opened(tmp_path / "a.db", 2) as first, opened(tmp_path / "a.db", 2) as second:
        attempt = second._attempt

        def late(job):
            assert first.claim() == job
            first.report(2, 5.0)
            first.pause()
            return attempt(job)

        monkeypatch.setattr(second, "_attempt", late)
        job = second.claim()
        assert job is not None
        assert job.number == 0
        assert second.report(2, 5.0) is Verdict.PAUSE  # its run tells its errors anew
        second.pause()
        assert [x.state for x in first.entries()] == [PAUSED, WAITING]


def test_what_lost_a_comparison_stops_at_its_next_report_however_it_came_there(tmp_path):
    with opened(tmp_path / "a.db", 2) as first, opened(tmp_path / "a.db", 2) as second:
        assert first.claim() is not None
        first.report(2, 5.0)  # and goes on, as if it had not heard the verdict
        assert second.claim() is not None
        assert second.report(2, 1.0) is Verdict.GO_ON
        assert first.report(4, 5.0) is Verdict.STOP
        first.stop(4, 5.0)
        assert [x.state for x in first.entries()] == [STOPPED, AT_WORK]


def test_a_worker_takes_paused_networks_up_again(tmp_path, monkeypatch):
    errors, order = drawn(6), []
    lengths, compared = by_hand(errors, 2, 2), {}

    def trained(run, job, workdir, before_leaving, *, compare, every_epochs):
        order.append(job.number)
        for epochs in range(every_epochs, EPOCHS, every_epochs):  # earlier errors are told again
            compared[job.number] = epochs
            verdict = compare(epochs, errors[job.number][epochs])
            if verdict is not Verdict.GO_ON:
                raise HaltedError(verdict, epochs, errors[job.number][epochs])
        compared[job.number] = EPOCHS
        return errors[job.number][EPOCHS], {"epochs": float(EPOCHS)}

    monkeypatch.setattr(work, "trained", trained)
    with opened(tmp_path / "a.db", 6) as ledger, work.Board(number=6) as board:
        entries = work.work(ledger, None, tmp_path, board)
    assert [compared[i] for i in range(6)] == lengths
    assert [entry.state == DONE for entry in entries] == [n == EPOCHS for n in lengths]
    assert order[:6] == list(range(6))  # a whole round first


def test_rounds_are_another_search_than_without(tmp_path):
    with opened(tmp_path / "a.db", 3):
        pass
    with (
        pytest.raises(ValueError, match=r"with halving.in_rounds: True, not None; give"),
        Ledger(
            f"sqlite:///{tmp_path / 'a.db'}", "test", Listed(jobs(3)), {}, halving=Halving(2, 2)
        ),
    ):
        pass
