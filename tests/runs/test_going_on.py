"""A run that goes on with another batch size: its schedule, its records, and what is said.

Its network is not computed: every gradient is 1, so that weights add up the learning rates.
"""

import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from fastscale_jax.checkpoints.saved import find_checkpoint, read_models
from fastscale_jax.checkpoints.stores import Folder
from fastscale_jax.logs.records import read_metrics
from fastscale_jax.runs import loop, trainer
from fastscale_jax.train import evaluate
from fastscale_jax.train.step import Metrics
from tests.train.tiny import tiny_run

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def rate(epoch, batch_size):
    """Of the tiny recipe: two epochs, warmup over the first one."""
    return 0.3 * batch_size / 1024 * min(0.1 + 0.9 * epoch, 1) * 0.02 ** (epoch / 2)


def train_step(task, state, batch, key, signals):
    """Stands in for the real one."""
    ones = jax.tree.map(jnp.ones_like, state.params)
    updates, opt_state = task.optimizer.update(ones, state.opt_state, state.params)
    after = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
    )
    images = len(batch.labels)
    return after, Metrics(*map(jnp.float32, (images, images, 0, images))), signals.sum(0)


def eval_step(task, weights, batch):
    """Stands in for the real one: its errors jump up and down."""
    images = batch.mask.sum()
    errors = jnp.floor(images * jnp.abs(jnp.sin(1000 * weights.params["head"]["fc"]["bias"][0])))
    return Metrics(jnp.float32(1), errors, jnp.float32(0), images), batch.labels


def train(workdir, **changes):
    """Trains, and returns what is said."""
    console = Console(file=io.StringIO(), width=200)
    changes = {"bn.precise_images": 0, "train.log_every_steps": 1, **changes}
    changes |= {"optim.momentum": 0.0, "optim.nesterov": False, "optim.weight_decay": 0.0}
    loop.train(tiny_run(workdir, **changes), console=console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def workdir_and_words(tmp_path_factory):
    """A run of 6 steps of four an epoch, which then had eight an epoch, and was stopped again."""
    workdir = tmp_path_factory.mktemp("run")
    smaller = {"data.batch_size": 179, "checkpoint.allow_changes": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train_step", train_step)
        patch.setattr(evaluate, "eval_step", eval_step)
        said = [
            train(workdir, **{"train.steps": 6}),
            train(workdir, **smaller, **{"train.steps": 8}),
            train(workdir, **smaller),
            train(workdir, **smaller),
        ]
    return workdir, said


def test_it_keeps_its_place_in_the_schedule(workdir_and_words):
    records = read_metrics(workdir_and_words[0] / "metrics.jsonl")
    trained = [r for r in records if "train_loss" in r]
    assert [r["step"] for r in trained] == list(range(1, 11))
    epochs = [k / 4 for k in range(1, 7)] + [1.5 + k / 8 for k in range(1, 5)]
    assert [r["epoch"] for r in trained] == epochs
    # the rate of a record is that of its update, before which that of the step is counted
    wanted = [rate(k / 4, 359) for k in range(6)] + [rate(1.5 + k / 8, 179) for k in range(4)]
    np.testing.assert_allclose([r["learning_rate"] for r in trained], wanted, rtol=1e-5)
    bias = read_models(find_checkpoint(Folder(workdir_and_words[0])))["model"]["params"]["head"][
        "fc"
    ]
    np.testing.assert_allclose(bias["bias"], -sum(wanted), rtol=1e-5)  # so was that of the updates
    tested = [(r["step"], r["epoch"]) for r in records if "test_loss" in r]
    assert tested == [(4, 1.0), (6, 1.5), (8, 1.75), (10, 2.0)]


def test_it_says_from_where_it_goes_on(workdir_and_words):
    first, second, third, fourth = workdir_and_words[1]
    assert "going on" not in first
    assert (
        "going on at epoch 1.5 (2,154 images seen): batch size 359 -> 179, "
        f"4 steps per epoch became 8; learning rate {rate(1.5, 179):.3g}\n"
    ) in second
    assert "going on after step 6 of 8" in second
    assert "going on after step 8 of 10" in third
    assert "images seen" not in third + fourth
    assert "already trained for 10 steps" in fourth


def test_each_evaluation_is_said_beside_the_best(workdir_and_words):
    workdir, said = workdir_and_words
    records = [r for r in read_metrics(workdir / "metrics.jsonl") if "test_loss" in r]
    lines = [x for words in said for x in words.splitlines() if x.startswith("epoch ")]
    best, wanted = None, []
    for record in records:
        error = record["ema_test_top1_error"]
        if best is None or error < best["ema_test_top1_error"]:
            best, remark = record, "best so far"
        else:
            remark = (
                f"best average {best['ema_test_top1_error']:.2f} % at epoch {best['epoch']:.1f}"
            )
        wanted.append(
            f"epoch {record['epoch']:.1f}  test error {record['test_top1_error']:.2f} %  "
            f"average {error:.2f} %  {remark}"
        )
    assert lines == wanted


def test_it_says_that_it_compiles_before_the_first_step(workdir_and_words):
    first = workdir_and_words[1][0]
    assert first.index("\ncompiling the step of regnetz-") < first.index("\ncompiled and ran the")
