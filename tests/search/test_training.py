"""What a search changes in a config, and what it leaves."""

import dataclasses
import math
import pathlib

import pytest

from fastscale_jax.logs.records import read_metrics
from fastscale_jax.runs.run import Run
from fastscale_jax.search.halving import Verdict
from fastscale_jax.search.jobs import Job
from fastscale_jax.search.training import (
    HaltedError,
    own_records,
    recipe_of,
    run_of_job,
    shortened,
    step_ms,
    trained,
)
from fastscale_jax.train.recipe import Recipe
from tests.search.small import BASE
from tests.train.tiny import tiny_run


def run(**sections):
    made = Run(BASE, Recipe())
    for section, values in sections.items():
        made = made.changed(section, **values)
    return made


def test_a_job_has_its_network_and_seed_and_is_saved_by_the_clock():
    given = run(checkpoint={"dir": "gs://bucket/search/"})
    given = dataclasses.replace(given, recipe=dataclasses.replace(given.recipe, seed=5))
    made = run_of_job(given, Job(7, {}, BASE, 2), pathlib.Path("there"))
    assert (made.network, made.workdir, made.variant) == (BASE, pathlib.Path("there"), "")
    recipe = made.recipe
    assert (recipe.seed, recipe.checkpoint.dir) == (7, "gs://bucket/search/007")
    assert (recipe.checkpoint.every_epochs, recipe.checkpoint.every_minutes) == (0, 1.0)
    assert recipe.train.eval_every_epochs == recipe.total_epochs == 100
    assert recipe_of(given) == {**recipe_of(made), "seed": 5}


@pytest.mark.parametrize(
    ("epochs", "warmup", "steps"), [(10, 0.5, (3, 6, 9)), (200, 5.0, (30, 60, 90)), (1, 0.05, (1,))]
)
def test_a_short_schedule_keeps_its_shape(epochs, warmup, steps):
    recipe = shortened(run(), epochs).recipe
    assert recipe.total_epochs == epochs
    assert recipe.optim.warmup_epochs == pytest.approx(warmup)
    assert recipe.optim.step_epochs == steps


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_quickly")
def test_a_run_tells_its_errors_on_its_way_and_ends_where_others_are_ahead(tmp_path):
    """Whoever takes it up is told again what the first may not have told."""
    given = tiny_run(tmp_path, **{"train.epochs": 3, "checkpoint.every_epochs": 1})
    job, told = Job(0, {}, given.network), []

    def compare(epochs, error):
        told.append((epochs, error))
        return Verdict.STOP if len(told) == 2 else Verdict.GO_ON

    options = {"compare": compare, "every_epochs": 1}
    with pytest.raises(HaltedError) as halted:
        trained(given, job, tmp_path / "a", lambda: None, **options)
    assert [epochs for epochs, _ in told] == [1, 2]
    assert halted.value.verdict is Verdict.STOP
    assert (halted.value.epochs, halted.value.error) == told[1]
    error, facts = trained(given, job, tmp_path / "a", lambda: None, **options)
    assert told[2:4] == told[:2]
    assert facts["epochs"] == 3
    whole, _ = trained(given, job, tmp_path / "b", lambda: None, every_epochs=1)
    assert error == whole


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_quickly")
def test_a_run_that_was_paused_goes_on_where_it_was(tmp_path):
    """It ends with the error of a run without a pause, and trains no epoch twice."""
    given = tiny_run(tmp_path, **{"train.epochs": 3})
    job, told = Job(0, {}, given.network), []

    def compare(epochs, error):
        told.append(epochs)
        return Verdict.PAUSE if len(told) == 1 else Verdict.GO_ON

    options = {"compare": compare, "every_epochs": 1}
    with pytest.raises(HaltedError) as halted:
        trained(given, job, tmp_path / "a", lambda: None, **options)
    assert (halted.value.verdict, halted.value.epochs) == (Verdict.PAUSE, 1)
    before = read_metrics(tmp_path / "a" / "metrics.jsonl")
    error, _ = trained(given, job, tmp_path / "a", lambda: None, **options)
    after = read_metrics(tmp_path / "a" / "metrics.jsonl")
    assert after[: len(before)] == before
    assert len(after) > len(before)
    assert min(record["epoch"] for record in after[len(before) :]) > 1
    assert error == trained(given, job, tmp_path / "b", lambda: None, every_epochs=1)[0]


def test_no_epochs_are_the_recipe_s_own():
    given = run()
    assert shortened(given, 0) is given


@pytest.mark.parametrize(
    ("speeds", "wanted"),
    [
        ((10.0, 100.0, 200.0, 400.0), 500.0),  # the first waited for compilation
        ((50.0,), None),
        ((math.nan, 100.0, 50.0), 2000.0),  # a log line right after a step that compiled
        ((10.0, math.nan, 200.0), 500.0),
        ((math.nan,), None),
        ((), None),
    ],
)
def test_a_step_s_time_is_the_median_of_what_was_logged(speeds, wanted):
    records = [{"step": i, "images_per_second": speed} for i, speed in enumerate(speeds)]
    evaluation = {"step": 9, "test_loss": 1.0}
    assert step_ms([*records, evaluation], 100) == wanted


def test_of_a_run_that_another_worker_began_only_the_own_records_count():
    others = [{"step": 1, "loss": math.nan}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": 0.9}]
    again = {"step": 3, "loss": 0.8}  # it was not saved, and taken anew
    assert own_records(others, [*others[:2], again]) == [again]
    assert own_records(others, others) == []
    assert own_records([], others) == others
