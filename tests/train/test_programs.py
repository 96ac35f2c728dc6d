"""Runs of equal tasks share their programs; anything that changes a program parts them."""

import functools

import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

from fastscale_jax.distributed.sharding import ON_ALL
from fastscale_jax.runs import loop, trainer
from fastscale_jax.train import programs
from fastscale_jax.train.programs import program
from tests.runs.records import timeless
from tests.train.tiny import tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.fixture
def traced():
    """A function of a task, and the tasks that it was traced with."""
    tasks = []

    def function(task, x):
        tasks.append(task)
        return task.recipe.data.batch_size * x

    return function, tasks


def task_of(folder, shift=0, **changes):
    return tiny_run(folder, **changes).task(shift)


@pytest.mark.parametrize("changes", [{}, {"seed": 1}, {"checkpoint.keep": 7}, {"init_from": "x"}])
def test_what_changes_no_program_is_traced_once(tmp_path, traced, changes):
    function, tasks = traced
    for task in (task_of(tmp_path), task_of(tmp_path, **changes)):
        program(function, task)(jnp.ones(3))
    assert len(tasks) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"data.batch_size": 30},
        {"optim.learning_rate": 0.5},
        {"train.epochs": 3},
        {"model.head_width": 24},
        {"augment.label_smoothing": 0.3},
        {"train.freeze": "stem.*"},
        {"shift": 5},
    ],
)
def test_what_changes_a_program_is_traced_again(tmp_path, traced, changes):
    function, tasks = traced
    for task in (task_of(tmp_path), other := task_of(tmp_path, **changes), task_of(tmp_path)):
        program(function, task)(jnp.ones(3))
    assert len(tasks) == 2
    assert tasks[1] == other


def test_a_layout_donation_and_haste_are_of_a_program_too(tmp_path, traced):
    task = task_of(tmp_path)
    layout = NamedSharding(task.mesh, ON_ALL)
    options = ({}, {"layout": layout}, {"donates": True}, {"hasty": True})
    found = [program(traced[0], task, **x) for x in (*options, *options)]
    assert found[:4] == found[4:]
    assert len({*map(id, found)}) == 4


def test_few_are_kept(tmp_path, traced):
    function, _ = traced
    for turn in range(programs._KEPT + 1):
        program(functools.partial(function), task_of(tmp_path))(jnp.ones(turn + 1))
    assert programs._jitted.cache_info().currsize == programs._KEPT


@pytest.mark.slow
def test_a_second_run_traces_no_step_and_is_what_it_is_alone(tmp_path, monkeypatch):
    traces = []

    def counted(*given):
        traces.append(len(given))
        return step(*given)

    step = trainer.train_step
    monkeypatch.setattr(trainer, "train_step", counted)
    for seed in (0, 1):
        loop.train(tiny_run(tmp_path / f"{seed}", **{"train.steps": 2, "seed": seed}))
    assert len(traces) == 1
    programs.forget()
    loop.train(tiny_run(tmp_path / "alone", **{"train.steps": 2, "seed": 1}))
    assert len(traces) == 2
    assert timeless(tmp_path / "1") == timeless(tmp_path / "alone")
    assert timeless(tmp_path / "1") != timeless(tmp_path / "0")
