"""A run whose epochs change their length keeps its place in the schedule."""

import dataclasses
import itertools
import pathlib
import re
from fractions import Fraction

import numpy as np
import pytest

from fastscale_jax.data.pipeline import Plan
from fastscale_jax.runs.course import Course
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.summary import change_of_course
from fastscale_jax.train.recipe import Recipe

IMAGES = 1437


def course(batch_size=64, epochs=40, *, images=IMAGES, steps=0):
    return Course(images, batch_size, images // batch_size, epochs, steps)


def test_a_run_without_changes_counts_its_steps():
    found = course()
    assert found.last_step == 40 * 22
    assert [found.epoch(step) for step in (0, 11, 22, 88)] == [0.0, 0.5, 1.0, 4.0]
    assert [step for step in range(1, 100) if found.ends_epochs(step, 2)] == [44, 88]
    assert not any(found.ends_epochs(step, 0) for step in range(100))
    assert found.position(17) == 17
    assert found.images_seen(17) == 17 * 64
    assert found.going_on(17, found) == found


@pytest.mark.parametrize(
    ("step", "after", "epoch", "last_step"),
    [
        (88, course(256), 4.0, 88 + 36 * 5),  # at an epoch's end, exactly
        (88, course(16), 4.0, 88 + 36 * 89),
        (99, course(256), 4.4, 99 + 180 - 2),  # 4.5, and two whole steps of the fifth epoch
        (109, course(256), 4.8, 109 + 180 - 4),
        (109, course(1000), 4.0, 109 + 36),
        (1, course(32), 2 / 44, 1 + 40 * 44 - 2),
        (88, course(64, epochs=80), 4.0, 80 * 22),
        (88, course(64, images=3000), 4.0, 88 + 36 * 46),
        (88, course(64, epochs=3), 4.0, 66),  # done already
        (88, course(256, steps=100), 4.0, 100),
        (880, course(256), 40.0, 880),
    ],
)
def test_a_changed_run_goes_on_in_the_epoch_that_it_was_in(step, after, epoch, last_step):
    found = after.going_on(step, course())
    assert found.epoch(step) == pytest.approx(epoch)
    assert found.last_step == last_step
    assert found.images_seen(step) == 64 * step
    assert found.images_seen(step + 3) == 64 * step + 3 * after.batch_size


def test_after_several_changes_it_is_where_the_parts_add_up_to():
    draw = np.random.default_rng(0)
    for _ in range(200):
        found, step, epochs, seen = course(), 0, Fraction(0), 0
        recorded = []
        for _ in range(5):
            taken = int(draw.integers(1, 60))
            recorded += [found.epoch(step + k) for k in range(1, taken + 1)]
            step, seen = step + taken, seen + taken * found.batch_size
            epochs += Fraction(taken, found.epoch_steps)
            before = found
            found = course(int(draw.choice([16, 64, 100, 359]))).going_on(step, found)
            lost = Fraction(before.position(step), before.epoch_steps) - Fraction(
                found.position(step), found.epoch_steps
            )
            assert 0 <= lost < Fraction(1, found.epoch_steps)
            epochs -= lost
        assert found.epoch(step) == pytest.approx(float(epochs))
        assert found.images_seen(step) == seen
        assert all(a < b for a, b in itertools.pairwise(recorded))  # no epoch is recorded twice
        ends = [k for k in range(step, found.last_step + 1) if found.ends_epochs(k, 1)]
        assert found.epoch(found.last_step) == 40.0
        assert len(ends) == 40 - int(found.epoch(step)) + (found.epoch(step) % 1 == 0)


def picks(batch_size, first, steps):
    plan = Plan(IMAGES, batch_size, seed=3, first_step=first)
    return [x.indices for x in itertools.islice(plan.train_picks(), steps)]


@pytest.mark.parametrize(("step", "batch_size"), [(99, 256), (99, 100), (95, 16), (88, 256)])
def test_the_rest_of_an_epoch_has_the_images_that_were_not_yet_seen(step, batch_size):
    before = course()
    found = course(batch_size).going_on(step, before)
    seen = picks(64, 88, step - 88)
    rest = picks(batch_size, found.position(step), 5 * found.epoch_steps - found.position(step))
    images = np.concatenate([*seen, *rest])
    again = len(images) - len(np.unique(images))
    left_out = IMAGES - len(np.unique(images))
    assert again < 2 * batch_size
    assert left_out < batch_size + 64
    if step == 88:
        assert again == 0


def test_a_checkpoint_tells_its_course():
    saved = dataclasses.asdict(course(256).going_on(99, course()))
    assert course(64).before({"course": saved}) == Course(**saved)
    back = course(64).after(99, {"course": saved})
    assert back.epoch(99) == pytest.approx(4 + 8 / 22)  # 4.5 became 4.4, and that 4.36
    assert course(256).after(99, {"course": saved}) == Course(**saved)


def test_an_older_checkpoint_had_the_batch_of_its_config_from_the_start():
    config = {"data": {"batch_size": 64}, "train": {"epochs": 20}, "schedule": 2}
    assert course(256).before({"config": config}) == course()
    assert course(256).after(88, {"config": config}).epoch(88) == 4.0
    assert course(256).after(88, {}) == course(256)


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (course(), ""),
        (course(steps=7), ""),
        (course(256), "batch size 64 -> 256, 22 steps per epoch became 5"),
        (course(epochs=80), "40 epochs became 80"),
        (
            course(images=1500),
            "1,437 training images became 1,500, 22 steps per epoch became 23",
        ),
    ],
)
def test_what_has_changed_is_said(after, says):
    assert after.changes(course()) == says


def test_the_manual_shows_what_a_digits_run_says():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
    block = re.search(r"<!-- example: another batch size -->\n```text\n(.*)\n```", page)
    recipe = Recipe.from_config(read_config("digits", ["--config.data.batch_size=256"]))
    about = {"course": dataclasses.asdict(course())}
    found = change_of_course(recipe, course(256).after(88, about), 88, about)
    assert block[1] == found
    assert change_of_course(recipe, course().after(88, about), 88, about) == ""
    ended = course(256, epochs=3).after(88, about)
    assert change_of_course(recipe, ended, 88, about) == ""
