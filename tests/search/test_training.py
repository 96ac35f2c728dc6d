"""What a search changes in a config, and what it leaves."""

import pytest

from fastscale_jax.arch import Architecture
from fastscale_jax.search.jobs import Job
from fastscale_jax.search.training import config_of, recipe_of, short
from fastscale_jax.train.recipe import Recipe, default_config
from tests.search.small import BASE


def config():
    made = default_config()
    made.model = BASE.to_config()
    return made


def test_a_job_has_its_network_and_seed_and_is_saved_by_the_clock():
    given = config()
    given.seed, given.checkpoint.dir = 5, "gs://bucket/search/"
    made = config_of(given, Job(7, {}, BASE, 2))
    assert Architecture.from_config(made.model) == BASE
    assert (made.seed, made.checkpoint.dir) == (7, "gs://bucket/search/007")
    assert (made.checkpoint.every_epochs, made.checkpoint.every_minutes) == (0, 1.0)
    assert made.train.eval_every_epochs == Recipe.from_config(made).total_epochs == 100
    assert (given.seed, given.checkpoint.every_epochs) == (5, 10)  # not modified
    assert recipe_of(given) == {**recipe_of(made), "seed": 5}


@pytest.mark.parametrize(
    ("epochs", "warmup", "steps"), [(10, 0.5, (3, 6, 9)), (200, 5.0, (30, 60, 90)), (1, 0.05, (1,))]
)
def test_a_short_schedule_keeps_its_shape(epochs, warmup, steps):
    made = short(config(), epochs)
    assert Recipe.from_config(made).total_epochs == epochs
    assert made.optim.warmup_epochs == pytest.approx(warmup)
    assert made.optim.step_epochs == steps


def test_no_epochs_are_the_config_s_own():
    given = config()
    assert short(given, 0).to_dict() == given.to_dict()
