"""The average against its closed forms: how fast it forgets, when it moves, and where to."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax.train.ema import averaging_rate, moved, share_to_move
from fastscale_jax.train.recipe import Data, Ema, Optim, Recipe, Train
from fastscale_jax.train.state import Weights

IMAGENET = 1_281_167


def recipe_of(batch_size=1024, epochs=100, every_steps=32, **rest):
    return Recipe(
        data=Data(batch_size=batch_size),
        train=Train(epochs=epochs),
        ema=Ema(every_steps=every_steps),
        **rest,
    )


@pytest.mark.parametrize(
    ("batch_size", "epochs", "wanted"),
    # min(1, 1e-5 · batch / epochs · 32), as the paper's code has it for ImageNet
    [(1024, 100, 3.2768e-3), (256, 100, 8.192e-4), (1024, 400, 8.192e-4), (128, 200, 2.048e-4)],
)
def test_the_rate_is_the_paper_s_on_imagenet(batch_size, epochs, wanted):
    recipe = recipe_of(batch_size, epochs)
    assert averaging_rate(recipe, IMAGENET) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("images", [1437, 50_000, IMAGENET])
@pytest.mark.parametrize(("batch_size", "epochs"), [(64, 40), (128, 100), (1024, 400)])
def test_it_forgets_within_7_8_percent_of_any_run(images, batch_size, epochs):
    recipe = recipe_of(batch_size, epochs, every_steps=1)
    time_constant = -1 / math.log(1 - averaging_rate(recipe, images))
    steps = epochs * images / batch_size
    assert time_constant / steps == pytest.approx(0.078, rel=0.02)


@pytest.mark.parametrize(("batch_size", "epochs"), [(1024, 20), (4096, 60)])
def test_what_is_left_of_the_beginning_of_a_run_on_imagenet(batch_size, epochs):
    recipe = recipe_of(batch_size, epochs, optim=Optim(warmup_epochs=0.0))
    steps_per_epoch = IMAGENET // batch_size
    steps = range(1, epochs * steps_per_epoch + 1)
    left = [1 - share_to_move(recipe, IMAGENET, steps_per_epoch, step) for step in steps]
    time_constants = -sum(map(math.log, left))
    # twelve and a few: an epoch's first step is an update too many
    assert time_constants == pytest.approx(1 / 0.078, rel=0.04)


def test_schedules_lengthen_its_memory_with_the_run():
    recipe = recipe_of()
    longer = dataclasses.replace(recipe, schedule=4)
    ratio = averaging_rate(recipe, IMAGENET) / averaging_rate(longer, IMAGENET)
    assert ratio == pytest.approx(4)


def test_it_moves_at_each_epoch_s_start_and_every_so_many_steps_after():
    recipe = recipe_of(every_steps=4, optim=Optim(warmup_epochs=0.0))
    steps = [step for step in range(1, 21) if share_to_move(recipe, IMAGENET, 10, step)]
    assert steps == [1, 5, 9, 11, 15, 19]


def test_during_warmup_it_is_a_copy():
    recipe = recipe_of(every_steps=2, optim=Optim(warmup_epochs=1.5))
    shares = [share_to_move(recipe, IMAGENET, 4, step) for step in range(1, 13)]
    later = averaging_rate(recipe, IMAGENET)
    assert shares == [1, 0, 1, 0, 1, 0, 1, 0, later, 0, later, 0]


def test_without_it_nothing_moves():
    assert share_to_move(recipe_of(every_steps=0), IMAGENET, 10, 1) == 0


def weights_of(value):
    return Weights({"kernel": jnp.full(3, value)}, {"mean": jnp.full(2, 10 * value)})


def test_it_holds_the_exponential_sum_of_what_it_was_shown():
    draw = np.random.default_rng(0)
    values, share, average = draw.normal(size=20), 0.3, weights_of(0.0)
    for value in values:
        average = moved(average, weights_of(value), share)
    wanted = sum(share * (1 - share) ** (19 - i) * value for i, value in enumerate(values))
    np.testing.assert_allclose(average.params["kernel"], wanted, rtol=1e-5)
    np.testing.assert_allclose(average.batch_stats["mean"], 10 * wanted, rtol=1e-5)


def test_a_whole_share_is_a_copy_bit_for_bit():
    value = np.float32(0.1) + np.float32(1e-7)
    copied = moved(weights_of(3.3), weights_of(value), 1.0)
    assert np.asarray(copied.params["kernel"]).tobytes() == np.full(3, value, "f4").tobytes()
