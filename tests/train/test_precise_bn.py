"""Precise statistics against those of all images at once, computed elsewhere."""

import functools
import itertools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fastscale_jax.data.augment.augmented import prepare
from fastscale_jax.data.pipeline import train_batches
from fastscale_jax.train.precise_bn import PreciseStatistics, over_all
from fastscale_jax.train.step import create_state
from tests.train.tiny import tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")
PLAIN = {
    "augment.shift": 0.0,
    "augment.zoom": 0.0,
    "model.dropout": 0.0,
    "model.stochastic_depth": 0.0,
    "data.batch_size": 100,
    "grouped_conv": "lax",
    "model.depths": (1, 1),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("run"), **PLAIN)


@pytest.fixture(scope="module")
def weights(run):
    return jax.jit(lambda key: create_state(run.task(), key).weights)(jax.random.key(0))


def batches(run):
    return train_batches(run.source.train, 100, seed=0)


def precise(run, weights, images):
    take = PreciseStatistics(run.task(), images)
    (found,) = take([weights], batches(run), jax.random.key(1))
    return found


def test_the_first_layer_s_are_those_of_all_images_at_once(run, weights):
    found = precise(run, weights, 250)  # rounded up to three batches
    mean, std = run.source.conventions[:2]
    images = np.concatenate([batch.images for batch in itertools.islice(batches(run), 3)])
    pixels = prepare(images, resolution=run.network.resolution, mean=mean, std=std)
    kernel = np.asarray(weights.params["stem"]["conv"]["kernel"], np.float64)
    padded = np.pad(np.asarray(pixels, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    out = np.einsum("nhwcij,ijco->nhwo", taps, kernel)
    statistics = found.batch_stats["stem"]["conv"]["bn"]
    np.testing.assert_allclose(statistics["mean"], out.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], out.var((0, 1, 2)), rtol=1e-4)


def test_of_one_batch_they_are_that_batch_s_in_every_layer(run, weights):
    found = precise(run, weights, 100)
    batch = next(batches(run))
    mean, std = run.source.conventions[:2]
    images = prepare(batch.images, resolution=run.network.resolution, mean=mean, std=std)
    model, variables = run.task().model, {"params": weights.params}
    # with them, the network says in evaluation what it says of this batch in training
    key = {"dropout": jax.random.key(0)}
    train = functools.partial(model.apply, train=True, mutable=["batch_stats"], rngs=key)
    training, _ = jax.jit(train)({**variables, "batch_stats": weights.batch_stats}, images)
    evaluate = jax.jit(functools.partial(model.apply, train=False))
    evaluated = evaluate({**variables, "batch_stats": found.batch_stats}, images)
    np.testing.assert_allclose(evaluated, training, rtol=1e-3, atol=1e-5)
    before = evaluate({**variables, "batch_stats": weights.batch_stats}, images)
    assert not np.allclose(before, training, rtol=0.1)


def test_parameters_stay_and_every_statistic_is_taken_anew(run, weights):
    found = precise(run, weights, 200)
    for x, y in zip(*map(jax.tree.leaves, (found.params, weights.params)), strict=True):
        np.testing.assert_array_equal(x, y)
    old = flatten_dict(weights.batch_stats)
    assert flatten_dict(found.batch_stats).keys() == old.keys()
    for path, x in flatten_dict(found.batch_stats).items():
        assert not np.array_equal(x, old[path]), path


def test_batches_together_have_the_statistics_of_their_union():
    draw = np.random.default_rng(0)
    parts = [draw.normal(draw.normal(), 1 + draw.random(), (50, 4)) for _ in range(5)]
    of_parts = [
        {"a": {"bn": {"mean": x.mean(0)[None], "var": x.var(0)[None]}}, "b": {}} for x in parts
    ]
    found = over_all(of_parts)
    union = np.concatenate(parts)
    np.testing.assert_allclose(found["a"]["bn"]["mean"], union.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found["a"]["bn"]["var"], union.var(0), rtol=1e-6)
