"""Checkpoints come back to the bit, or not at all."""

import asyncio
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from fastscale_jax.checkpoints.checkpoint import Checkpoints
from fastscale_jax.checkpoints.saved import (
    CheckpointError,
    check_steps,
    find_checkpoint,
    kept_checkpoints,
    latest_step,
    patient_loops,
    read_models,
    read_variables,
)
from fastscale_jax.checkpoints.stores import Folder, checkpoints_of
from fastscale_jax.train.state import TrainState, Weights


def state_at(step, width=3):
    """A state like a network's, with values that a rounding would change."""
    draw = np.random.default_rng(step).standard_normal
    params = {
        "stem": {
            "kernel": jnp.asarray(draw((2, width)), jnp.float32),
            "bn": {"scale": jnp.ones(1)},
        },
        "fc": {"bias": jnp.asarray([np.nextafter(np.float32(1), np.float32(2)), -0.0, np.inf])},
    }
    return TrainState(
        step=jnp.int32(step),
        params=params,
        batch_stats={"bn": {"mean": jnp.asarray(draw(width), jnp.bfloat16)}},
        opt_state=optax.sgd(lambda _: 0.1, momentum=0.9, nesterov=True).init(params),
    )


def saved(workdir, *states, keep=2):
    with Checkpoints(checkpoints_of(workdir), keep) as checkpoints:
        for state in states:
            checkpoints.save(state)


def steps_kept(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def restored(workdir, like):
    with Checkpoints(checkpoints_of(workdir)) as checkpoints:
        found = checkpoints.restore(like)
    return found and found.state


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize("form", ["arrays", "shapes"])
def test_a_state_comes_back_bit_by_bit(tmp_path, form):
    state = state_at(7)
    saved(tmp_path, state)
    like = state_at(0)
    if form == "shapes":
        like = jax.eval_shape(lambda: like)
    assert_equal(restored(tmp_path, like), state)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_latest_of_several_are_kept(tmp_path, keep):
    saved(tmp_path, *map(state_at, (1, 2, 9, 12)), keep=keep)
    assert latest_step(checkpoints_of(tmp_path)) == 12
    assert steps_kept(tmp_path) == [1, 2, 9, 12][-keep:]
    assert_equal(restored(tmp_path, state_at(0)), state_at(12))


def test_a_step_that_is_saved_already_stays_as_it_is(tmp_path):
    saved(tmp_path, state_at(3))
    saved(tmp_path, state_at(4).replace(step=jnp.int32(3)))
    assert_equal(restored(tmp_path, state_at(0)), state_at(3))


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert latest_step(checkpoints_of(tmp_path / "new")) is None
    assert not (tmp_path / "new").exists()
    assert restored(tmp_path, state_at(0)) is None
    assert latest_step(checkpoints_of(tmp_path)) is None


def test_an_unfinished_checkpoint_is_not_the_latest(tmp_path):
    saved(tmp_path, state_at(5))
    (tmp_path / "checkpoints" / "9.orbax-checkpoint-tmp-1").mkdir()
    assert latest_step(checkpoints_of(tmp_path)) == 5
    assert_equal(restored(tmp_path, state_at(0)), state_at(5))


def test_a_checkpoint_is_found_from_every_folder_that_leads_to_it(tmp_path):
    saved(tmp_path, state_at(12))
    checkpoints = tmp_path / "checkpoints"
    found = checkpoints / "12" / "state"
    for folder in (tmp_path, checkpoints, checkpoints / "12", found):
        assert find_checkpoint(Folder(folder)) == found
    for folder in (tmp_path / "new", found / "d", tmp_path.parent / "other"):
        assert find_checkpoint(Folder(folder)) is None


def test_the_latest_is_found_by_its_number_and_unfinished_ones_are_not(tmp_path):
    saved(tmp_path, state_at(12))
    saved(tmp_path / "other", state_at(9))
    checkpoints = tmp_path / "checkpoints"
    (tmp_path / "other" / "checkpoints" / "9").rename(checkpoints / "9")
    (checkpoints / "99.orbax-checkpoint-tmp-1").mkdir()
    assert find_checkpoint(Folder(tmp_path)) == checkpoints / "12" / "state"


def test_variables_are_read_bit_by_bit_without_a_state_like_them(tmp_path):
    state = state_at(7, width=5)
    saved(tmp_path, state)
    found = read_variables(tmp_path / "checkpoints" / "7" / "state")
    assert_equal(found, {"params": state.params, "batch_stats": state.batch_stats})
    assert all(type(x) is np.ndarray for x in jax.tree.leaves(found))


def test_a_checkpoint_of_something_else_is_refused_in_one_line(tmp_path):
    folder = tmp_path / "checkpoints" / "7" / "state"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, {"weights": np.ones(2)})
    with pytest.raises(CheckpointError, match=r"step 7, \S+/7/state, cannot be read: .*params"):
        read_variables(folder)


def damage_data(folder):
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(folder):
    """Changes a value without any of the files' own checks to notice."""
    with Checkpoints(checkpoints_of(folder.parents[1])) as checkpoints:
        about = json.loads((folder / "about" / "metadata").read_text())
        shutil.rmtree(folder)
        state = state_at(5)
        bits = np.asarray(state.params["stem"]["kernel"]).view(np.uint32).copy()
        bits[1, 2] ^= 1 << 7
        kernel = jnp.asarray(bits.view(np.float32))
        params = {**state.params, "stem": {**state.params["stem"], "kernel": kernel}}
        checkpoints._manager.reload()
        checkpoints.save(state.replace(params=params))
        checkpoints.wait()
        (folder / "about" / "metadata").write_text(json.dumps(about))


def damage_metadata(folder):
    (folder / "state" / "_METADATA").write_text("{")


def remove_data(folder):
    for path in (folder / "state").rglob("*"):
        if path.is_file():
            path.unlink()


def of_another_width(folder):
    """Leaves the checkpoint as it is: `refusals` restores it into another network's state."""


def damage_about(folder):
    (folder / "about" / "metadata").write_text("{")


DAMAGES = (
    damage_data,
    flip_a_bit,
    damage_metadata,
    damage_about,
    remove_data,
    of_another_width,
)


def going_on(workdir):
    """What is restored where there is a whole one before it, what is said, and what is left."""
    saved(workdir / "earlier", state_at(4))
    (workdir / "earlier" / "checkpoints" / "4").rename(workdir / "checkpoints" / "4")
    with Checkpoints(checkpoints_of(workdir)) as checkpoints:
        found = checkpoints.restore(state_at(0))
        assert_equal(found.state, state_at(4))
        checkpoints.save(state_at(5))  # the place is free
    again = restored(workdir, state_at(0))
    assert_equal(again, state_at(5))
    return found.passed_over, sorted(path.name for path in (workdir / "checkpoints").iterdir())


def print_refusals(folder):
    """Prints as JSON what `restore` says of a checkpoint in each condition."""
    messages = {}
    for damage in DAMAGES:
        workdir = pathlib.Path(folder) / damage.__name__
        saved(workdir, state_at(5, width=4 if damage is of_another_width else 3))
        damage(workdir / "checkpoints" / "5")
        try:
            restored(workdir, state_at(0))
        except ValueError as error:
            messages[damage.__name__] = [str(error), *going_on(workdir)]
    print(json.dumps(messages))


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    # In a process of its own: when a restore fails, Orbax drops coroutines, which complain in
    # whichever test comes next.
    module, folder = "tests.checkpoints.test_checkpoint", tmp_path_factory.mktemp("damaged")
    run = subprocess.run(
        [sys.executable, "-c", f"import {module} as t; t.print_refusals({str(folder)!r})"],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    # files that report after the first one that failed
    assert "Event loop is closed" not in run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("damage", [damage.__name__ for damage in DAMAGES])
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(refusals, damage):
    pattern = rf"the checkpoint of step 5, \S+/{damage}/checkpoints/5/state, cannot be read: .+"
    assert re.fullmatch(pattern, refusals[damage][0])  # "." is no line's end


@pytest.mark.parametrize("damage", [damage.__name__ for damage in DAMAGES])
def test_where_there_is_one_before_it_that_is_used_and_the_damaged_one_said(refusals, damage):
    refusal, passed_over, names = refusals[damage]
    (said,) = passed_over  # of several damaged files either may be the first
    assert said.partition("cannot be read: ")[:2] == refusal.partition("cannot be read: ")[:2]
    assert said.endswith("; it is moved to damaged-5")
    assert names == ["4", "5", "damaged-5"]


def test_loops_made_meanwhile_take_late_reports_and_others_refuse_them():
    before = asyncio.new_event_loop
    with patient_loops():
        patient = asyncio.new_event_loop()
    assert asyncio.new_event_loop is before
    patient.close()
    assert patient.call_soon_threadsafe(print) is None
    patient.call_exception_handler({"message": "too late"})  # else it is logged
    other = asyncio.new_event_loop()
    other.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        other.call_soon_threadsafe(print)


def save_all(workdir, errors):
    """Saves a state at each step with the error of its evaluation."""
    with Checkpoints(checkpoints_of(workdir)) as checkpoints:
        for step, error in errors.items():
            checkpoints.save(state_at(step), error)


@pytest.mark.parametrize(
    ("errors", "best"),
    [
        ({1: 30.0, 2: 20.0, 3: 25.0, 4: None}, 2),
        ({1: 30.0, 2: 20.0, 3: 20.0, 4: 40.0}, 3),  # of equals, the latest
        ({1: 30.0, 2: 20.0, 4: 10.0}, 4),
    ],
)
def test_the_best_is_kept_beside_the_latest(tmp_path, errors, best):
    save_all(tmp_path, errors)
    last_two = sorted(errors)[-2:]
    assert steps_kept(tmp_path) == sorted({best, *last_two})
    kept = kept_checkpoints(checkpoints_of(tmp_path))
    assert {which: int(path.parent.name) for which, path in kept.items()} == {
        "last": 4,
        "best": best,
    }
    with Checkpoints(checkpoints_of(tmp_path)) as checkpoints:
        assert checkpoints.lowest_error() == min(x for x in errors.values() if x is not None)
        assert int(checkpoints.restore(state_at(0)).state.step) == 4


def test_without_evaluations_there_is_no_best(tmp_path):
    save_all(tmp_path, {1: None, 2: None})
    assert kept_checkpoints(checkpoints_of(tmp_path)).keys() == {"last"}
    assert steps_kept(tmp_path) == [1, 2]
    with Checkpoints(checkpoints_of(tmp_path)) as checkpoints:
        assert checkpoints.lowest_error() == math.inf
    assert kept_checkpoints(checkpoints_of(tmp_path / "nothing")) == {}


@pytest.mark.parametrize("has_average", [True, False])
def test_a_checkpoint_is_read_with_its_average_which_goes_before(tmp_path, has_average):
    state = state_at(3)
    if has_average:
        state = state.replace(average=state_at(4).weights)
    saved(tmp_path, state)
    path = kept_checkpoints(checkpoints_of(tmp_path))["last"]
    wanted = {"model": state.weights} | ({"average": state.average} if has_average else {})
    models = read_models(path)
    assert models.keys() == wanted.keys()
    for name, weights in wanted.items():
        assert_equal(Weights(**models[name]), weights)
    best = wanted.get("average", wanted["model"])
    assert_equal(Weights(**read_variables(path)), best)
    restored_state = restored(tmp_path, state)
    assert_equal(restored_state, state)


def test_a_renamed_folder_is_noticed_and_nothing_is_moved(tmp_path):
    saved(tmp_path, state_at(3), state_at(7))
    folder = tmp_path / "checkpoints"
    (folder / "7").rename(folder / "11")
    says = r"\S+/11 is the checkpoint of step 7, under another name; rename the folder to 7"
    with pytest.raises(ValueError, match=says):
        check_steps(checkpoints_of(tmp_path))
    with pytest.raises(CheckpointError, match=says):
        read_variables(find_checkpoint(Folder(tmp_path)))
    assert steps_kept(tmp_path) == [3, 11]
    (folder / "11").rename(folder / "7")
    check_steps(checkpoints_of(tmp_path))
    # a copy elsewhere may have any name
    shutil.copytree(folder / "7", tmp_path / "mine")
    assert read_variables(find_checkpoint(Folder(tmp_path / "mine")))


NO_JSON_OF_OURS = {
    "empty": b"",
    "a list": b"[]",
    "a number": b"7",
    "bytes": bytes(range(256)),
    "nested deep": b"[" * 100_000,
    "of something else": b'{"test_top1_error": "20"}',
}


@pytest.mark.parametrize("content", NO_JSON_OF_OURS.values(), ids=NO_JSON_OF_OURS.keys())
def test_a_sound_checkpoint_is_used_whatever_lies_beside_its_arrays(tmp_path, content):
    """Also where it is the only one: otherwise the run would begin anew."""
    save_all(tmp_path, {5: 20.0})
    step = tmp_path / "checkpoints" / "5"
    (step / "metrics" / "metrics").write_bytes(content)
    (step / "_CHECKPOINT_METADATA").write_bytes(content)
    assert kept_checkpoints(checkpoints_of(tmp_path)).keys() == {"last"}
    with Checkpoints(checkpoints_of(tmp_path)) as checkpoints:
        assert_equal(checkpoints.restore(state_at(0)).state, state_at(5))
        assert checkpoints.lowest_error() == math.inf
        checkpoints.save(state_at(6), 30.0)
    said = [note.partition(" cannot be read (")[0] for note in checkpoints.notes]
    assert said[0] == "warning: the test error of the checkpoint of step 5"
    assert "is moved to damaged-5-metrics; the checkpoint is used" in checkpoints.notes[0]
    is_taken = content.startswith(b"{")  # by Orbax, which passes over what it does not know
    assert said[1:] == ["warning: _CHECKPOINT_METADATA of the checkpoint of step 5"][is_taken:]
    with Checkpoints(checkpoints_of(tmp_path)) as checkpoints:
        assert checkpoints.notes == []
        assert checkpoints.lowest_error() == 30.0
