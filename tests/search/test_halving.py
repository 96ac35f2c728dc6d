"""Networks that others are ahead of are stopped, and those that are best go on."""

import contextlib
import random
import threading

import optuna
import pytest

from benchmarks import halving as benchmark
from fastscale_jax.search.halving import Halving, Verdict
from fastscale_jax.search.job_plan import Listed
from fastscale_jax.search.jobs import DONE, STOPPED, WAITING, best_of
from fastscale_jax.search.ledger import Ledger, LostError
from fastscale_jax.search.outcome import trained_epochs
from tests.search.small import jobs

EPOCHS, EVERY = 10, 2


@contextlib.contextmanager
def opened(path, number, halving=Halving(EVERY, 2)):  # noqa: B008 # a tuple
    with Ledger(f"sqlite:///{path}", "test", Listed(jobs(number)), {}, halving=halving) as ledger:
        yield ledger


def train(ledger, curve):
    """In place of training: reports a curve of errors, and returns the epochs that it came to."""
    for epochs in range(EVERY, EPOCHS, EVERY):
        if ledger.report(epochs, curve[epochs]) is Verdict.STOP:
            ledger.stop(epochs, curve[epochs])
            return epochs
    ledger.finish(curve[EPOCHS], {"epochs": float(EPOCHS)})
    return EPOCHS


def curves(number):
    """Errors that fall to each network's own, with the noise of a short training."""
    draw = random.Random(0)
    finals = [draw.uniform(1, 9) for _ in range(number)]
    return [
        {n: final + 40 / n + draw.gauss(0, 0.3) for n in range(EVERY, EPOCHS + 1, EVERY)}
        for final in finals
    ]


def by_hand(curves, factor=2):
    """The rule in its own words: in turn, each goes on past a rung if it is in the best share."""
    seen, lengths = {}, []
    for curve in curves:
        rung = EVERY
        while rung < EPOCHS:
            before = seen.setdefault(rung, [])
            before.append(curve[rung])
            if sorted(before).index(curve[rung]) >= max(1, len(before) // factor):
                break
            rung *= factor
        lengths.append(min(rung, EPOCHS))
    return lengths


@pytest.mark.parametrize("factor", [2, 3])
def test_networks_are_trained_for_as_long_as_the_rule_says(tmp_path, factor):
    errors = curves(24)
    with opened(tmp_path / "a.db", 24, Halving(EVERY, factor)) as ledger:
        lengths = []
        while (job := ledger.claim()) is not None:
            lengths.append(train(ledger, errors[job.number]))
        entries = ledger.entries()
    assert lengths == by_hand(errors, factor)
    assert {entry.state for entry in entries} == {DONE, STOPPED}
    best = best_of(entries)
    assert best is not None
    assert best.error == min(curve[EPOCHS] for curve in errors)
    assert trained_epochs(entries) == [
        f"trained: {sum(lengths)} epochs instead of 240; "
        f"{sum(n < EPOCHS for n in lengths)} of 24 networks were stopped early"
    ]


def test_without_halving_nothing_is_stopped(tmp_path):
    with opened(tmp_path / "a.db", 4, Halving()) as ledger:
        while (job := ledger.claim()) is not None:
            assert train(ledger, dict.fromkeys(range(99), 10.0 * job.number)) == EPOCHS


def test_a_network_that_was_stopped_is_never_trained_again(tmp_path):
    with opened(tmp_path / "a.db", 3) as ledger:
        for error in (1.0, 5.0):
            job = ledger.claim()
            assert job is not None
            train(ledger, dict.fromkeys(range(99), error))
    with opened(tmp_path / "a.db", 3) as ledger:
        assert [entry.state for entry in ledger.entries()] == [DONE, STOPPED, WAITING]
        stopped = ledger.entries()[1]
        assert (stopped.error, stopped.reason) == (None, "5.00 % error after 2 epochs")
        job = ledger.claim()
        assert job is not None
        assert job.number == 2
        assert train(ledger, dict.fromkeys(range(99), 0.5)) == EPOCHS
        assert ledger.claim() is None


def test_a_lost_attempt_has_no_say_beside_its_successor(tmp_path):
    """The third network is second of three, and would be second of four, of whom two go on."""
    with opened(tmp_path / "a.db", 3) as ledger:
        for number, error, is_lost in ((0, 9.0, True), (0, 9.0, False), (1, 5.0, False)):
            job = ledger.claim()
            assert job is not None
            assert job.number == number
            assert ledger.report(2, error) is Verdict.GO_ON
            ledger.fail_here("lost") if is_lost else ledger.finish(error, {})
        assert ledger.claim() is not None
        assert ledger.report(2, 6.0) is Verdict.STOP


def forget(path, number):
    """Ends a trial as if its worker had given no sign of life for long."""
    study = optuna.load_study(study_name="test", storage=f"sqlite:///{path}")
    trial = study.trials[number]._trial_id
    study._storage.set_trial_state_values(trial, optuna.trial.TrialState.FAIL)


def test_whoever_lost_its_job_hears_of_it_when_it_reports(tmp_path):
    with opened(tmp_path / "a.db", 1) as first, opened(tmp_path / "a.db", 1) as second:
        assert first.claim() is not None
        forget(tmp_path / "a.db", 0)
        assert second.claim() is not None
        with pytest.raises(LostError):
            first.report(2, 3.0)


def test_who_was_taken_for_dead_keeps_what_it_told(tmp_path):
    """The second network has 10 % after two epochs, where the first had 20, not its later 5."""
    with opened(tmp_path / "a.db", 2) as ledger:
        assert ledger.claim() is not None
        assert ledger.report(2, 20.0) is Verdict.GO_ON
        forget(tmp_path / "a.db", 0)
        assert ledger.report(4, 5.0) is Verdict.GO_ON
        ledger.finish(4.0, {})
        assert ledger.claim() is not None
        assert ledger.report(2, 10.0) is Verdict.GO_ON


def test_a_network_that_is_taken_up_is_not_compared_again_with_later_ones(tmp_path):
    with opened(tmp_path / "a.db", 2) as ledger:
        for number, curve in ((0, (20.0, 15.0)), (1, (10.0, 9.0))):
            job = ledger.claim({0} if number else ())
            assert job is not None
            assert job.number == number
            for epochs, error in zip((2, 4), curve, strict=True):
                assert ledger.report(epochs, error) is Verdict.GO_ON
            ledger.finish(8.0, {}) if number else ledger.give_back()
        again = ledger.claim()
        assert again is not None
        assert again.number == 0
        assert ledger.report(2, 20.0) is Verdict.GO_ON  # its run tells its errors anew
        assert ledger.report(4, 15.0) is Verdict.GO_ON
        assert ledger.report(8, 14.0) is Verdict.GO_ON  # nobody else came as far


def test_a_lost_job_is_taken_up_by_one_thread_alone(tmp_path, monkeypatch):
    """The heartbeat and a report that come at the same time make one attempt, not two."""
    with opened(tmp_path / "a.db", 1) as ledger:
        assert ledger.claim() is not None
        forget(tmp_path / "a.db", 0)
        both, live = threading.Barrier(2), Ledger._live

        def slow(self, tries):
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.5)  # with two inside, they go on together
            return live(self, tries)

        monkeypatch.setattr(Ledger, "_live", slow)
        beat = threading.Thread(target=ledger._give_sign)
        beat.start()
        ledger.report(2, 3.0)
        beat.join()
        ledger.finish(1.0, {})
    study = optuna.load_study(study_name="test", storage=f"sqlite:///{tmp_path / 'a.db'}")
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL", "COMPLETE"]


def test_other_rules_under_the_same_name_are_refused(tmp_path):
    with opened(tmp_path / "a.db", 3):
        pass
    with (
        pytest.raises(ValueError, match=r"with halving.start: 2, not 4; give"),
        opened(tmp_path / "a.db", 3, Halving(4, 2)),
    ):
        pass


@pytest.mark.parametrize(
    ("ended", "of_three", "lost"),
    [
        ((0, 1, 2), 3, 0.0),
        ((0, 1, 4), 3, 0.0),  # 2, 3 and 4 share the third place
        ((0, 2, 3), 2, 0.0),  # a second network at the third place does not replace number 1
        ((2, 3, 4), 1, 1.0),
        ((5,), 0, 2.0),
    ],
)
def test_of_the_best_three_only_the_third_place_is_shared(ended, of_three, lost):
    curves = [{benchmark.EPOCHS: error} for error in (1.0, 1.0, 2.0, 2.0, 2.0, 3.0)]
    assert benchmark.found(curves, ended) == (of_three, lost)
