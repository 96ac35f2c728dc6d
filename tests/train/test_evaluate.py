"""Evaluation counts every image once, whatever the batch size."""

import functools
import types
from typing import Any

import jax
import numpy as np
import pytest

from fastscale_jax.data.sources.arrays import ArraySplit
from fastscale_jax.distributed.sharding import device_mesh
from fastscale_jax.train import evaluate
from fastscale_jax.train.evaluate import Evaluation, Evaluator, as_record, averages, error_of
from fastscale_jax.train.step import Metrics, create_state
from tests.train.tiny import tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def by_label(task, weights, batch):
    """Stands in for `eval_step`: the loss of an image is its label, and odd ones are wrong."""
    labels = np.where(batch.mask, batch.labels, 0)
    counts = (labels.sum(), (labels % 2).sum(), (labels >= 20).sum(), batch.mask.sum())
    return Metrics(*counts), batch.labels + batch.labels % 2


def task_of(num_classes):
    """All that an evaluator asks of a task."""
    architecture = types.SimpleNamespace(num_classes=num_classes)
    model = types.SimpleNamespace(architecture=architecture)
    task: Any = types.SimpleNamespace(mesh=device_mesh(jax.devices()[:1]), model=model)
    return task


@pytest.mark.parametrize("batch_size", [1, 4, 5, 23, 40])
@pytest.mark.parametrize("num_classes", [5, 6])
def test_every_image_counts_once(batch_size, num_classes, monkeypatch):
    monkeypatch.setattr(evaluate, "eval_step", by_label)
    monkeypatch.setattr(evaluate, "program", lambda f, task, layout: functools.partial(f, task))
    split = ArraySplit(np.zeros((23, 2, 2, 3), np.uint8), np.arange(23), 23)
    nothing: Any = None
    found = Evaluator(task_of(num_classes), split, batch_size)(nothing)
    wanted = {"loss": 11.0, "top1_error": pytest.approx(100 * 11 / 23)}
    if num_classes > 5:  # among five the top 5 are all
        wanted["top5_error"] = pytest.approx(100 * 3 / 23)
    assert found.metrics == wanted
    np.testing.assert_array_equal(found.labels, np.arange(23))
    np.testing.assert_array_equal(found.predicted, [i + i % 2 for i in range(23)])


def test_averages_weigh_batches_by_their_images():
    parts = [Metrics(*map(np.float32, x)) for x in ((6, 2, 1, 3), (4, 1, 0, 1))]
    assert averages(parts) == {"loss": 2.5, "top1_error": 75.0, "top5_error": 25.0}


def test_averages_of_many_batches_lose_no_digits():
    # float32 holds no odd number above 2^24
    parts = [Metrics(*map(np.float32, x)) for x in ((2**24, 0, 0, 1), (1, 0, 0, 0))]
    assert averages(parts)["loss"] == 2**24 + 1


def evaluation(error, loss=1.0):
    metrics = {"loss": loss, "top1_error": error, "top5_error": 0.0}
    return Evaluation(metrics, np.zeros(1, int), np.zeros(1, int))


def test_a_record_tells_the_average_apart():
    assert as_record({"": evaluation(2.0), "ema_": evaluation(1.0)}) == {
        "test_loss": 1.0,
        "test_top1_error": 2.0,
        "test_top5_error": 0.0,
        "ema_test_loss": 1.0,
        "ema_test_top1_error": 1.0,
        "ema_test_top5_error": 0.0,
    }


def test_a_state_is_judged_by_its_average_where_it_has_one():
    assert error_of({"": evaluation(2.0), "ema_": evaluation(3.0)}) == 3.0
    assert error_of({"": evaluation(2.0)}) == 2.0
    assert error_of({}) is None
    assert error_of({"": evaluation(2.0, loss=float("nan"))}) is None


def test_batch_size_does_not_change_what_a_network_scores(tmp_path):
    run = tiny_run(tmp_path)
    task = run.task()
    state = jax.jit(functools.partial(create_state, task))(jax.random.key(0))
    # running statistics that are not the batch's, and logits that differ from image to image
    scaled = jax.tree.map(lambda x: 30 * x, state.params["head"])
    state = state.replace(params={**state.params, "head": scaled})
    whole, parts = (Evaluator(task, run.source.test, size)(state.weights) for size in (360, 101))
    assert whole.metrics.pop("loss") == pytest.approx(parts.metrics.pop("loss"), rel=1e-5)
    assert whole.metrics == parts.metrics
    np.testing.assert_array_equal(whole.labels, run.source.test.labels)
    np.testing.assert_array_equal(whole.predicted, parts.predicted)
    assert 0 < whole.metrics["top5_error"] < whole.metrics["top1_error"] < 100
    wrong = 100 * (whole.predicted != whole.labels).mean()
    assert whole.metrics["top1_error"] == pytest.approx(wrong)
