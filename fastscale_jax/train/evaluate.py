"""Evaluation on every image of the test split, once."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding

from fastscale_jax.data.pipeline import Batch, eval_batches
from fastscale_jax.data.sources.source import Split
from fastscale_jax.distributed.sharding import ON_ALL, replicated, shared_out, this_host
from fastscale_jax.train.programs import program
from fastscale_jax.train.state import TrainState, Weights
from fastscale_jax.train.step import Metrics, Task, eval_step


class Evaluation(NamedTuple):
    """A model's metrics and predictions on a split."""

    # loss; top1_error in percent; with more than 5 classes, top5_error in percent
    metrics: dict[str, float]
    labels: np.ndarray  # [images] int
    predicted: np.ndarray  # [images] int


class Evaluator:
    """Evaluates models of one task on one split; compiles once."""

    def __init__(self, task: Task, split: Split, batch_size: int) -> None:
        """Takes the arguments that are the same for all models.

        Args:
            task: has the network and the normalisation of its images.
            split: the images, a split of a source.
            batch_size: images per step over all devices, rounded up to a multiple of their number.
                The last batch is padded; padding is not counted.
        """
        self._step = program(_step, task, NamedSharding(task.mesh, ON_ALL))
        self._split, self._mesh = split, task.mesh
        self._has_top5 = task.model.architecture.num_classes > 5  # else it would always be 0
        self._batch_size = task.mesh.size * math.ceil(batch_size / task.mesh.size)

    def __call__(self, weights: Weights, tick: Callable[[], object] = lambda: None) -> Evaluation:
        """Returns the evaluation of a model; all hosts take part, and all get the result.

        Args:
            weights: the model's weights.
            tick: called after each batch.
        """
        weights = replicated(weights, self._mesh)  # once, not for each batch
        parts = []
        for batch in eval_batches(self._split, self._batch_size, **this_host()):
            parts.append(self._step(weights, shared_out(batch, self._mesh)))
            tick()
        metrics, classes = zip(*parts, strict=True)
        labels, predicted, mask = map(np.concatenate, zip(*jax.device_get(classes), strict=True))
        means = averages(list(metrics))
        if not self._has_top5:
            del means["top5_error"]
        return Evaluation(means, labels[mask], predicted[mask])

    def of_state(
        self, state: TrainState, tick: Callable[[], object] = lambda: None
    ) -> dict[str, Evaluation]:
        """Returns the evaluations of the model (key "") and of the average, if any (key "ema_")."""
        evaluations = {"": self(state.weights, tick)}
        if state.average is not None:
            evaluations["ema_"] = self(state.average, tick)
        return evaluations


def _step(task: Task, weights: Weights, batch: Batch) -> tuple[Metrics, tuple[Array, Array, Array]]:
    """Metrics, and labels, predictions and mask of all images, on every host."""
    metrics, predicted = eval_step(task, weights, batch)
    return metrics, (jnp.asarray(batch.labels), predicted, jnp.asarray(batch.mask))


def averages(parts: list[Metrics]) -> dict[str, float]:
    """Returns means over the images of several batches: the loss, and errors in percent."""
    # Python floats: sums in float32 would lose digits
    of_batches = [jax.tree.map(float, part) for part in jax.device_get(parts)]
    return functools.reduce(Metrics.merge, of_batches).compute()


def as_record(evaluations: dict[str, Evaluation]) -> dict[str, float]:
    """Returns metrics under their names in `metrics.jsonl`: `test_loss`, `ema_test_loss`."""
    return {
        f"{prefix}test_{name}": value
        for prefix, evaluation in evaluations.items()
        for name, value in evaluation.metrics.items()
    }


def images_seen(evaluations: Iterable[Mapping[str, Evaluation]]) -> int:
    """Returns the number of images that evaluations of a split counted; unreadable ones are not.

    Args:
        evaluations: of one or more checkpoints, each as `Evaluator.of_state` returns it. If they
            differ, the smallest number is returned.
    """
    return min((len(x.labels) for one in evaluations for x in one.values()), default=0)


def error_of(evaluations: dict[str, Evaluation]) -> float | None:
    """Returns the top-1 error that decides the best checkpoint: the average's, if there is one.

    None if there is no evaluation, or the loss is not finite.
    """
    if not evaluations:
        return None
    metrics = (evaluations.get("ema_") or evaluations[""]).metrics
    return metrics["top1_error"] if math.isfinite(metrics["loss"]) else None
