"""Workers share a search: each job is done once, by whoever comes first."""

import contextlib
import dataclasses
import json
import sqlite3
import subprocess
import sys
import time
import types
import urllib.error
import urllib.request

import optuna
import pytest

from fastscale_jax.search.job_plan import Gridded, Listed
from fastscale_jax.search.jobs import AT_WORK, DONE, FAILED, WAITING
from fastscale_jax.search.ledger import Ledger, LostError
from fastscale_jax.search.storage import StorageError
from tests.commands import free_port, installed
from tests.search.small import jobs

ABOUT = {"window": (1e6, 4e6), "seed": 0}


@pytest.fixture(autouse=True)
def _closed(monkeypatch):
    """Closes all ledgers of a test at its end, as a `with` statement would."""
    with contextlib.ExitStack() as stack:
        begin = Ledger.__init__

        def init(self, *arguments, **options):
            begin(self, *arguments, **options)
            stack.enter_context(self)

        monkeypatch.setattr(Ledger, "__init__", init)
        yield


def opened(path, number=3, about=ABOUT):
    return Ledger(f"sqlite:///{path}", "test", Listed(jobs(number)), about)


def states(ledger):
    return [entry.state for entry in ledger.entries()]


def forget_signs_of_life(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00.000000'")
        database.commit()


def test_two_workers_do_each_job_once(tmp_path):
    first, second = opened(tmp_path / "a.db"), opened(tmp_path / "a.db")
    one, other = first.claim(), second.claim()
    assert one is not None
    assert other is not None
    assert one.number != other.number
    first.finish(1.0, {})
    second.finish(2.0, {})
    last = first.claim()
    assert last is not None
    assert {one.number, other.number, last.number} == {0, 1, 2}
    assert second.claim() is None
    first.finish(3.0, {"seconds": 1})
    assert first.claim() is None
    errors = {entry.job.number: entry.error for entry in second.entries()}
    assert errors == {one.number: 1.0, other.number: 2.0, last.number: 3.0}
    assert states(second) == [DONE] * 3


def test_a_grid_is_visited_once_in_random_order_and_goes_on_where_it_was(tmp_path):
    visited = []
    for most in (7, 20):  # the first worker ends early, at work on another point
        with Ledger(f"sqlite:///{tmp_path / 'a.db'}", "grid", Gridded(jobs(20)), ABOUT) as ledger:
            while (job := ledger.claim()) is not None:
                if len(visited) == most:
                    ledger.give_back()
                    break
                ledger.finish(1.0, {})
                visited.append(job.number)
    assert sorted(visited) == list(range(20))
    assert visited != sorted(visited)
    assert max(visited[:7]) > 7  # not only those of a corner


def test_of_two_that_begin_the_same_job_the_first_has_it(tmp_path):
    first, second = opened(tmp_path / "a.db"), opened(tmp_path / "a.db")
    (job, *_) = jobs(3)
    assert first._attempt(job)
    assert not second._attempt(job)
    assert states(second) == [AT_WORK, WAITING, WAITING]


def test_the_job_of_a_worker_without_signs_of_life_is_taken_up(tmp_path):
    dead, heir = opened(tmp_path / "a.db", 1), opened(tmp_path / "a.db", 1)
    assert dead.claim()
    assert heir.claim() is None
    forget_signs_of_life(tmp_path / "a.db")
    job = heir.claim()
    assert job is not None
    assert job.number == 0
    heir.finish(1.5, {})
    with pytest.raises(LostError, match="sign of life"):
        dead.finish(9.0, {})
    (entry,) = heir.entries()
    assert (entry.state, entry.error) == (DONE, 1.5)


def test_a_worker_that_was_taken_for_dead_takes_its_job_up_again(tmp_path):
    worker, other = opened(tmp_path / "a.db", 1), opened(tmp_path / "a.db", 1)
    assert worker.claim()
    forget_signs_of_life(tmp_path / "a.db")
    assert other.claim()
    worker._give_sign()  # while the other has it, it is the other's
    assert states(worker) == [AT_WORK]
    other.give_back()  # as it found the folder in use
    worker._give_sign()
    assert other.claim() is None
    forget_signs_of_life(tmp_path / "a.db")
    assert other.claim()
    other.give_back()
    worker.finish(2.5, {})
    (entry,) = other.entries()
    assert (entry.state, entry.error) == (DONE, 2.5)


@pytest.mark.parametrize("dies_at", ["record_heartbeat", "set_trial_user_attr"])
def test_a_worker_that_dies_before_its_first_sign_of_life_is_missed(tmp_path, monkeypatch, dies_at):
    dead, heir = opened(tmp_path / "a.db", 1), opened(tmp_path / "a.db", 1)
    monkeypatch.setattr(dead._trials, dies_at, lambda *trial: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dead.claim()
    clock = [0.0]
    timer = types.SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr("fastscale_jax.search.history.time", timer)
    assert heir.claim() is None
    clock[0] = 39.0
    assert heir.claim() is None
    clock[0] = 41.0
    assert heir.claim()


def test_a_job_that_loses_three_workers_has_failed(tmp_path):
    for _ in range(3):
        assert opened(tmp_path / "a.db", 1).claim()
        forget_signs_of_life(tmp_path / "a.db")
    ledger = opened(tmp_path / "a.db", 1)
    assert ledger.claim() is None
    (entry,) = ledger.entries()
    assert (entry.state, entry.reason) == (FAILED, "lost 3 workers")


def test_what_diverged_is_not_tried_again(tmp_path):
    ledger = opened(tmp_path / "a.db", 1)
    ledger.claim()
    ledger.fail("the loss is not finite")
    assert ledger.claim() is None
    (entry,) = ledger.entries()
    assert (entry.state, entry.reason) == (FAILED, "the loss is not finite")


def test_what_was_given_back_is_claimed_again(tmp_path):
    ledger = opened(tmp_path / "a.db", 1)
    for _ in range(5):
        assert ledger.claim()
        ledger.give_back()
    assert states(ledger) == [WAITING]


def test_another_search_under_the_same_name_is_refused(tmp_path):
    opened(tmp_path / "a.db")
    with pytest.raises(ValueError, match=r"another one, with seed: 0, not 1; give --name another"):
        opened(tmp_path / "a.db", about={**ABOUT, "seed": 1})


def test_of_a_recipe_only_what_differs_is_said(tmp_path):
    recipe = {"seed": 0, "train": {"epochs": 1, "steps": 0}}
    opened(tmp_path / "a.db", about={"recipe": recipe})
    other = {"seed": 0, "train": {"epochs": 2, "steps": 0}}
    with pytest.raises(ValueError, match=r"another one, with recipe.train.epochs: 1, not 2; give"):
        opened(tmp_path / "a.db", about={"recipe": other})


def test_other_networks_under_the_same_name_are_refused(tmp_path):
    opened(tmp_path / "a.db")
    other = [dataclasses.replace(job, seed=job.seed + 1) for job in jobs(3)]
    with pytest.raises(ValueError, match="another one, with other networks or seeds; give"):
        Ledger(f"sqlite:///{tmp_path / 'a.db'}", "test", Listed(other), ABOUT)


def test_a_study_that_no_search_made_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(study_name="test", storage=storage).add_trial(
        optuna.create_trial(value=1.0)
    )
    storage.engine.dispose()
    with pytest.raises(ValueError, match="was not made by a search"):
        opened(tmp_path / "a.db")


def test_a_search_whose_beginner_died_before_it_said_what_it_is_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("fastscale_jax.search.shared_study._SECONDS_TO_SAY", 0)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'a.db'}")
    optuna.create_study(study_name="test", storage=storage)
    storage.engine.dispose()
    assert states(opened(tmp_path / "a.db")) == [WAITING] * 3
    with pytest.raises(ValueError, match="another one, with seed"):
        opened(tmp_path / "a.db", about={**ABOUT, "seed": 1})


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_of_two_searches_that_begin_at_once_one_is_refused(tmp_path, kind, request):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgresql")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", BEGINNER, url, f"{seed}"], stderr=subprocess.PIPE, text=True
        )
        for seed in range(4)
    ]
    said = [worker.communicate()[1] for worker in workers]
    assert sorted(worker.returncode for worker in workers) == [0, 1, 1, 1]
    assert sum("is another one, with seed" in text for text in said) == 3


BEGINNER = """
import sys
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.search.job_plan import Listed
from tests.search.small import jobs
Ledger(sys.argv[1], "race", Listed(jobs(2)), {"seed": sys.argv[2]})
"""


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("sqlite:////nowhere/at/all.db", StorageError, "unable to open"),
        ("postgresql://nobody@127.0.0.1:1/none", StorageError, "127.0.0.1"),
        ("somewhere", ValueError, "is no storage"),
        ("postgresql//me:secret@host/db", ValueError, "'postgresql…' is no storage"),
        ("postgresql://me:secret", ValueError, "'postgresql…' is no storage"),
        ("oracle://a@b/c", ValueError, "driver"),
        ("foo://bar", ValueError, "'foo://bar' is no storage; give one as in sqlite"),
    ],
)
def test_a_storage_that_cannot_be_used_is_said_in_one_line(url, error, says):
    with pytest.raises(error, match=says) as raised:
        Ledger(url, "test", Listed(jobs(1)), ABOUT)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.slow
def test_the_dashboard_shows_parameters_costs_and_errors(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    ledger = opened(tmp_path / "a.db", 2)
    ledger.claim()
    ledger.finish(3.0, {"step_ms": 5.0})
    ledger.claim()
    with dashboard(url) as asked:
        (study,) = asked("/api/studies")["study_summaries"]
        assert study["study_name"] == "test"
        shown = asked(f"/api/studies/{study['study_id']}?after=0")["trials"]
    assert [trial["state"] for trial in shown] == ["Complete", "Running"]
    done = shown[0]
    assert done["values"] == [3.0]
    params = {each["name"]: each["param_external_value"] for each in done["params"]}
    assert params == {"depth": "4.0", "kind": "a"}
    attributes = {each["key"]: each["value"] for each in done["user_attrs"]}
    assert attributes["flops"] == str(jobs(1)[0].costs["flops"])


@contextlib.contextmanager
def dashboard(url):
    """Optuna's own dashboard of a storage: a function that returns what one of its pages says."""
    port = free_port()
    command = [installed("optuna-dashboard"), url, f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:

        def asked(path):
            for _ in range(300):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                        return json.load(answer)
                except urllib.error.URLError:  # it is about to start
                    assert server.poll() is None
                    time.sleep(0.1)
            pytest.fail("the dashboard does not answer")

        try:
            yield asked
        finally:
            server.terminate()


WORKER = """
import sys
from fastscale_jax.search.ledger import Ledger
from fastscale_jax.search.job_plan import Listed
from tests.search.small import jobs
with Ledger(sys.argv[1], "crowd", Listed(jobs(24)), {}) as ledger:
    while (job := ledger.claim()) is not None:
        ledger.finish(float(job.number), {})
        print(job.number)
"""


def crowd(url):
    """What each of four processes, started at once, did of 24 jobs."""
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, url], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    return [int(number) for text in said for number in text.split()]


def test_a_crowd_does_each_job_once_in_sqlite(tmp_path):
    assert sorted(crowd(f"sqlite:///{tmp_path / 'a.db'}")) == list(range(24))


@pytest.mark.slow
def test_a_crowd_does_each_job_once_in_postgresql(postgresql):
    assert sorted(crowd(postgresql)) == list(range(24))
