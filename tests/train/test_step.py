"""One step: its loss and its counts against PyTorch and NumPy, and what it does to the state."""

import functools
import types
from typing import Any

import clu.metrics
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax.data.pipeline import Batch
from fastscale_jax.train.state import Weights
from fastscale_jax.train.step import (
    Metrics,
    Task,
    create_state,
    cross_entropy,
    eval_step,
    train_step,
)
from tests.train.tiny import tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
QUICK = {"grouped_conv": "lax"}  # takes less to compile


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    changes = {"data.batch_size": 64, "augment.label_smoothing": 0.0}
    changes |= {"optim.learning_rate": 3.2, "train.epochs": 10}
    return tiny_run(tmp_path_factory.mktemp("run"), **changes)


@pytest.fixture(scope="module")
def task(run):
    return run.task()


@pytest.fixture(scope="module")
def create(task):
    return jax.jit(functools.partial(create_state, task))


@pytest.fixture(scope="module")
def step(task):
    """The step as the loop compiles it: it consumes its state."""
    return jax.jit(functools.partial(train_step, task), donate_argnums=0)


@pytest.fixture(scope="module")
def batch(run):
    images, labels = run.source.train.take(np.arange(64))
    return Batch(images, labels, np.ones(64, bool))


def arrays_equal(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


class Says:
    """Stands in for a network: it gives the logits that it was made with."""

    architecture = types.SimpleNamespace(resolution=8, in_channels=3)

    def __init__(self, logits: Any) -> None:
        self.logits = jnp.asarray(logits, jnp.float32)

    def apply(self, variables: Any, images: jax.Array, *, train: bool) -> jax.Array:
        assert images.shape == (len(self.logits), 8, 8, 3)
        assert not train
        return self.logits


def metrics_of(task: Task, logits: Any, labels: Any, mask: Any = None) -> Any:
    """`eval_step`'s metrics of given logits."""
    labels = np.asarray(labels, np.int32)
    mask = np.ones(len(labels), bool) if mask is None else np.asarray(mask)
    batch = Batch(np.zeros((len(labels), 8, 8, 3), np.uint8), labels, mask)
    task = task._replace(model=Says(logits))  # pyright: ignore[reportArgumentType]
    return jax.jit(functools.partial(eval_step, task))(Weights(None, None), batch)[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_loss_is_pytorch_s_with_label_smoothing(torch, smoothing):
    logits = np.random.default_rng(0).normal(0, 5, (6, 10)).astype(np.float32)
    labels = np.array([0, 9, 3, 3, 5, 1])
    got = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing)
    wanted = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=smoothing, reduction="none"
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_errors_are_those_of_a_sorted_list(torch, task):
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(200, 10)), random.integers(0, 10, 200)
    got = metrics_of(task, logits, labels)
    best = np.argsort(-logits.astype(np.float32), axis=1)
    hits = best == labels[:, None]
    assert got.top1_errors == 200 - hits[:, :1].any(1).sum()
    assert got.top5_errors == 200 - hits[:, :5].any(1).sum()
    assert got.images == 200
    wanted = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), reduction="sum"
    )
    assert float(got.loss) == pytest.approx(float(wanted), rel=1e-5)


def test_ties_and_nan_count_against_the_network(task):
    labels = [0, 1, 2, 3]
    for nothing in (0.0, np.nan):
        got = metrics_of(task, np.full((4, 10), nothing), labels)
        assert (got.top1_errors, got.top5_errors, got.images) == (4, 4, 4)
    # four others as good as the label: among the best five, but not the best
    logits = [[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]] * 2
    got = metrics_of(task, logits, [0, 4])
    assert (got.top1_errors, got.top5_errors) == (2, 0)


def test_padding_is_left_out_whatever_it_holds(task):
    random = np.random.default_rng(2)
    logits, labels = random.normal(size=(7, 10)), random.integers(0, 10, 7)
    mask = np.array([True, True, False, True, False, True, False])
    padded = logits.copy()
    padded[~mask] = np.nan
    got = metrics_of(task, padded, labels, mask)
    wanted = metrics_of(task, logits[mask], labels[mask])
    assert jax.tree.leaves(got)[1:] == jax.tree.leaves(wanted)[1:]
    assert float(got.loss) == pytest.approx(float(wanted.loss), rel=1e-6)


def test_in_a_collection_they_agree_with_clu_s_own_metrics():
    random = np.random.default_rng(3)
    logits = jnp.asarray(random.normal(size=(50, 10)), jnp.float32)
    labels = jnp.asarray(random.integers(0, 10, 50), jnp.int32)
    mask = jnp.asarray(random.integers(0, 2, 50), bool)
    outputs = {"losses": cross_entropy(logits, labels, 0.0), "logits": logits, "labels": labels}
    together = clu.metrics.Collection.create(
        ours=Metrics,
        accuracy=clu.metrics.Accuracy,
        loss=clu.metrics.Average.from_output("losses"),
    )
    found = together.single_from_model_output(**outputs, mask=mask).compute()
    assert found["ours"]["loss"] == pytest.approx(float(found["loss"]), rel=1e-6)
    right = 100 * float(found["accuracy"])
    assert found["ours"]["top1_error"] == pytest.approx(100 - right, rel=1e-6)


def test_batches_that_are_merged_count_as_one(task):
    random = np.random.default_rng(4)
    logits, labels = random.normal(size=(30, 10)), random.integers(0, 10, 30)
    whole = metrics_of(task, logits, labels)
    parts = (metrics_of(task, logits[of], labels[of]) for of in (slice(0, 8), slice(8, 30)))
    merged = functools.reduce(Metrics.merge, parts)
    assert jax.tree.leaves(merged)[1:] == jax.tree.leaves(whole)[1:]
    assert float(merged.loss) == pytest.approx(float(whole.loss), rel=1e-6)


def test_evaluation_is_the_network_on_normalised_images_without_smoothing(
    torch, run, task, create, batch
):
    state = create(KEY)
    smoothed = task._replace(recipe=tiny_run(run.workdir).recipe)
    assert smoothed.recipe.augment.label_smoothing == 0.1
    got, predicted = jax.jit(functools.partial(eval_step, smoothed))(state.weights, batch)

    pixels = torch.tensor(batch.images.transpose(0, 3, 1, 2) / 255)
    resized = torch.nn.functional.interpolate(
        pixels, (20, 20), mode="bilinear", align_corners=False
    )
    mean, std = run.source.conventions[:2]
    images = (resized - mean[0]) / std[0]  # grey: all channels are alike
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    images = jnp.asarray(images.numpy().transpose(0, 2, 3, 1), jnp.float32)
    logits = np.asarray(
        jax.jit(functools.partial(task.model.apply, train=False))(variables, images)
    )
    wanted = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(batch.labels).long()
    )
    assert float(got.loss) / 64 == pytest.approx(float(wanted), rel=1e-5)
    np.testing.assert_array_equal(predicted, logits.argmax(-1))


def test_the_same_seed_gives_the_same_bits(create, step, batch):
    def two_steps(seed):
        key = jax.random.key(seed)
        state, metrics = create(key), []
        for _ in range(2):
            state, part, _ = step(state, batch, key)
            metrics.append(part)
        return state, metrics

    first = two_steps(0)
    assert int(first[0].step) == 2
    assert arrays_equal(first, two_steps(0))
    assert not arrays_equal(first[0].params, two_steps(1)[0].params)


def test_each_step_and_each_key_draws_its_own_augmentation(create, step, batch):
    def loss(at_step, key):
        state = create(KEY)
        return float(step(state.replace(step=jnp.int32(at_step)), batch, key)[1].loss)

    other = jax.random.key(1)
    assert len({loss(0, KEY), loss(1, KEY), loss(0, other), loss(1, other)}) == 4


def test_a_step_consumes_its_state_and_changes_every_weight(create, step, batch):
    before = create(KEY)
    copy = jax.tree.map(np.array, before)
    # at a step whose rate is not tiny
    after, *_ = step(before.replace(step=jnp.int32(40)), batch, KEY)
    consumed = (before.params, before.batch_stats, before.opt_state)
    assert all(x.is_deleted() for x in jax.tree.leaves(consumed))
    assert int(after.step) == 41
    for changed, old in ((after.params, copy.params), (after.batch_stats, copy.batch_stats)):
        pairs = zip(jax.tree.leaves(changed), jax.tree.leaves(old), strict=True)
        assert all(not np.array_equal(x, y) for x, y in pairs)


def test_the_loss_of_one_batch_falls(create, step, batch):
    state, losses, errors = create(KEY), [], []
    for _ in range(60):
        state, part, _ = step(state, batch, KEY)
        losses.append(float(part.loss) / 64)
        errors.append(int(part.top1_errors))
    assert losses[0] == pytest.approx(np.log(10), abs=0.1)  # it begins by knowing nothing
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    assert np.mean(errors[-10:]) < 0.4 * 64


def test_in_float16_it_learns_and_an_update_that_overflows_is_left_out(tmp_path, batch):
    changes = {"dtype": "float16", "data.batch_size": 64, "model.depths": (1, 1), **QUICK}
    run = tiny_run(tmp_path, **changes)
    task = run.task()
    state = jax.jit(functools.partial(create_state, task))(KEY)
    step = jax.jit(functools.partial(train_step, task))
    after, metrics, _ = step(state, batch, KEY)
    assert np.isfinite(metrics.loss)
    assert not arrays_equal(after.params, state.params)
    huge = state.loss_scale.replace(scale=jnp.float32(1e38))
    after, *_ = step(state.replace(loss_scale=huge), batch, KEY)
    assert arrays_equal((after.params, after.opt_state), (state.params, state.opt_state))
    assert int(after.step) == 1
    assert float(after.loss_scale.scale) == pytest.approx(5e37)


def test_in_parts_a_step_updates_every_weight_nearly_as_at_once(tmp_path, batch):
    changes = {"data.batch_size": 64, "model.dropout": 0.0, "model.stochastic_depth": 0.0}
    # at once, too, BatchNorm sees halves of the batch
    changes |= {"model.depths": (1, 1), "bn.group_size": 32, "dtype": "float32", **QUICK}
    results = []
    for parts in (1, 2):
        run = tiny_run(tmp_path, **changes, **{"optim.accumulate": parts})
        task = run.task()
        state = jax.jit(functools.partial(create_state, task))(KEY).replace(step=jnp.int32(40))
        results.append(jax.jit(functools.partial(train_step, task))(state, batch, KEY))
    (once, metrics, _), (twice, in_parts, _) = results
    assert float(in_parts.loss) == pytest.approx(float(metrics.loss), rel=1e-5)
    assert int(in_parts.images) == 64
    before, once, twice = jax.device_get((state.params, once.params, twice.params))
    changes = jax.tree.map(lambda x, y: float(np.linalg.norm(x - y)), once, before)
    # a shift that the next BatchNorm takes away has a gradient of 0, and is what rounding leaves
    least = 1e-4 * max(jax.tree.leaves(changes))

    def assert_near(path, x, y, change):
        error = np.linalg.norm(x - y)
        assert error < 1e-4 * max(change, least), jax.tree_util.keystr(path)

    jax.tree_util.tree_map_with_path(assert_near, once, twice, changes)


def test_a_network_of_one_channel_trains_on_the_same_images(tmp_path):
    run = tiny_run(tmp_path, **{"model.in_channels": 1, "model.depths": (1, 1), **QUICK})
    task = run.task()
    images, labels = run.source.train.take(np.arange(8))
    assert images.shape[-1] == 3
    batch = Batch(images, labels, np.ones(8, bool))
    state = jax.eval_shape(functools.partial(create_state, task), KEY)
    after, *_ = jax.eval_shape(functools.partial(train_step, task), state, batch, KEY)
    assert after.weights.params["stem"]["conv"]["kernel"].shape[:3] == (3, 3, 1)
