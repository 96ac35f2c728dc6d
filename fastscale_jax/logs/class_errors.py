"""Errors of a network for each class, and its most frequent confusions."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastscale_jax.train.evaluate import Evaluation

_MOST_CONFUSIONS = 100


def account(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """Returns all figures of an evaluation as JSON values; NaN and infinity are null.

    Args:
        evaluation: the evaluation of a model.
        classes: the names of the labels.

    Returns:
        `loss`, `top1_error` and, with more than five classes, `top5_error` (percent); `images`; for
        each class its `name`, its number of `images` and its `top1_error` (null without images);
        and the most frequent confusions: true class `of`, predicted class `taken_for`, and number
        of `images`.
    """
    labels, predicted = evaluation.labels.tolist(), evaluation.predicted.tolist()
    pairs = list(zip(labels, predicted, strict=True))
    images = collections.Counter(labels)
    correct = collections.Counter(label for label, guess in pairs if label == guess)
    wrong = collections.Counter((label, guess) for label, guess in pairs if label != guess)
    return {
        **{name: _or_none(value) for name, value in evaluation.metrics.items()},
        "images": len(labels),
        "classes": [
            {
                "name": name,
                "images": images[i],
                "top1_error": 100 * (1 - correct[i] / images[i]) if images[i] else None,
            }
            for i, name in enumerate(classes)
        ],
        "confusions": [
            {"of": classes[label], "taken_for": classes[guess], "images": count}
            for (label, guess), count in wrong.most_common(_MOST_CONFUSIONS)
        ],
    }


def account_of_all(
    evaluations: Mapping[str, Mapping[str, Evaluation]], classes: Sequence[str]
) -> dict[str, Any]:
    """Returns `account` for the models (`model`, `averaged`) of several checkpoints.

    Args:
        evaluations: for each checkpoint, the result of `Evaluator.of_state`.
        classes: the names of the labels.
    """
    return {
        checkpoint: {
            "averaged" if prefix else "model": account(evaluation, classes)
            for prefix, evaluation in by_prefix.items()
        }
        for checkpoint, by_prefix in evaluations.items()
    }


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
