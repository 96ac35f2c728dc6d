"""A run whose loss is no number stops at once, says where, and keeps what it had."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax.checkpoints.saved import latest_step
from fastscale_jax.checkpoints.stores import checkpoints_of
from fastscale_jax.logs.records import read_metrics
from fastscale_jax.runs import loop, trainer
from fastscale_jax.train.divergence import DivergenceError, LossWatch
from tests.train.tiny import tiny_run

# what takes time and does not bear on the loss
SMALL = {"grouped_conv": "lax", "model.depths": (1, 1), "model.resolution": 12}
SMALL |= {"ema.every_steps": 0, "bn.precise_images": 0}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_loss_is_looked_at_one_step_later(bad):
    watch = LossWatch()
    watch.add(1, jnp.float32(2.0))
    watch.add(2, jnp.float32(bad))
    with pytest.raises(DivergenceError, match=f"the loss is {bad} at step 2"):
        watch.add(3, jnp.float32(1.0))


def test_the_last_one_is_looked_at_when_asked():
    watch = LossWatch()
    watch.catch_up()
    watch.add(7, jnp.float32(np.nan))
    with pytest.raises(DivergenceError) as stopped:
        watch.catch_up()
    assert stopped.value.step == 7


@pytest.mark.usefixtures("compiled_quickly")
def test_a_run_stops_there_and_names_the_step_the_rate_and_the_checkpoint(tmp_path, monkeypatch):
    step = trainer.train_step

    def poisoned(task, state, *given):
        after, metrics, heard = step(task, state, *given)
        bad_loss = jnp.where(state.step == 5, jnp.nan, metrics.loss)
        return after, metrics.replace(loss=bad_loss), heard

    monkeypatch.setattr(trainer, "train_step", poisoned)
    run = tiny_run(tmp_path, **SMALL)
    with pytest.raises(DivergenceError) as stopped:
        loop.train(run)
    rate = 0.3 * 359 / 1024 * 0.02 ** (5 / 8)
    assert f"the loss is nan at step 6, with a learning rate of {rate:.3g}" in str(stopped.value)
    assert f"the last good checkpoint is {tmp_path}/checkpoints/4" in str(stopped.value)
    assert latest_step(checkpoints_of(tmp_path)) == 4
    assert all(np.isfinite(x["train_loss"]) for x in read_metrics(tmp_path / "metrics.jsonl")[:1])
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == 4


@pytest.mark.usefixtures("compiled_quickly")
def test_weights_that_are_no_numbers_never_take_a_good_checkpoint_s_place(tmp_path, monkeypatch):
    step = trainer.train_step

    def overflowing(task, state, *given):
        """The loss before the update is fine; the weights after it are not."""
        after, *rest = step(task, state, *given)
        factor = jnp.where(state.step == 7, jnp.inf, 1.0)
        return after.replace(params=jax.tree.map(lambda x: x * factor, after.params)), *rest

    monkeypatch.setattr(trainer, "train_step", overflowing)
    with pytest.raises(DivergenceError, match=r"weights are not finite after step 8.*/4\."):
        loop.train(tiny_run(tmp_path, **SMALL))
    assert latest_step(checkpoints_of(tmp_path)) == 4
    monkeypatch.undo()
    changes = {"optim.learning_rate": 0.1, "checkpoint.allow_changes": True, **SMALL}
    loop.train(tiny_run(tmp_path, **changes))
    assert latest_step(checkpoints_of(tmp_path)) == 8
