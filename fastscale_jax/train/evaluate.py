"""Evaluation: every image of the test split, once."""

from collections.abc import Callable

import jax

from fastscale_jax.data.pipeline import Batch, eval_batches
from fastscale_jax.data.sources import Split
from fastscale_jax.train.step import Metrics, TrainState


def evaluate(
    step: Callable[[TrainState, Batch], Metrics], state: TrainState, split: Split, batch_size: int
) -> dict[str, float]:
    """Returns `test_loss` and the errors in percent, over all images of a split.

    Args:
        step: `eval_step` of a task, jitted.
        state: to evaluate.
        split: of a source.
        batch_size: of each step; the last batch is padded, and the padding not counted.
    """
    parts = [step(state, batch) for batch in eval_batches(split, batch_size)]
    return averages(parts, "test")


def averages(parts: list[Metrics], prefix: str) -> dict[str, float]:
    """Returns means over all images of some batches: the loss, and errors in percent."""
    fields = zip(*jax.device_get(parts), strict=True)
    loss, top1_errors, top5_errors, images = (sum(map(float, field)) for field in fields)
    return {
        f"{prefix}_loss": loss / images,
        f"{prefix}_top1_error": 100 * top1_errors / images,
        f"{prefix}_top5_error": 100 * top5_errors / images,
    }
