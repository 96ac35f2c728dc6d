"""Evaluation counts every image once, whatever the batch size."""

import functools

import jax
import numpy as np
import pytest

from fastscale_jax.data.sources import Split
from fastscale_jax.train.evaluate import averages, evaluate
from fastscale_jax.train.step import Metrics, create_state, eval_step
from tests.train.tiny import tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def by_label(state, batch):
    """Stands in for `eval_step`: the loss of an image is its label, and odd ones are wrong."""
    labels = batch.labels[batch.mask]
    return Metrics(labels.sum(), (labels % 2).sum(), (labels >= 20).sum(), len(labels))


@pytest.mark.parametrize("batch_size", [1, 4, 5, 23, 40])
def test_every_image_counts_once(batch_size):
    split = Split(np.zeros((23, 2, 2, 3), np.uint8), np.arange(23), 23)
    found = evaluate(by_label, None, split, batch_size)  # pyright: ignore[reportArgumentType]
    assert found == {
        "test_loss": 11.0,
        "test_top1_error": pytest.approx(100 * 11 / 23),
        "test_top5_error": pytest.approx(100 * 3 / 23),
    }


def test_averages_weigh_batches_by_their_images():
    parts = [Metrics(*map(np.float32, x)) for x in ((6, 2, 1, 3), (4, 1, 0, 1))]
    assert averages(parts, "train") == {
        "train_loss": 2.5,
        "train_top1_error": 75.0,
        "train_top5_error": 25.0,
    }


def test_batch_size_does_not_change_what_a_network_scores(tmp_path):
    run = tiny_run(tmp_path)
    task = run.task()
    state = jax.jit(functools.partial(create_state, task))(jax.random.key(0))
    # running statistics that are not the batch's, and logits that differ from image to image
    scaled = jax.tree.map(lambda x: 30 * x, state.params["head"])
    state = state.replace(params={**state.params, "head": scaled})
    step = jax.jit(functools.partial(eval_step, task))
    whole, parts = (evaluate(step, state, run.source.test, size) for size in (360, 101))
    assert whole["test_loss"] == pytest.approx(parts["test_loss"], rel=1e-5)
    assert {k: v for k, v in whole.items() if k != "test_loss"} == {
        k: v for k, v in parts.items() if k != "test_loss"
    }
    assert 0 < whole["test_top5_error"] < whole["test_top1_error"] < 100
