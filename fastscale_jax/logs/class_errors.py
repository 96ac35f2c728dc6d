"""Errors of a network class by class, and its most frequent confusions."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastscale_jax.train.evaluate import Evaluation

_MOST_CONFUSIONS = 100


def account(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """Returns an evaluation in full, as JSON can hold it: null stands for NaN and infinity.

    Args:
        evaluation: of a model.
        classes: the names of the labels.

    Returns:
        `loss`, `top1_error` and, of more than five classes, `top5_error` (percent); `images`; for
        each class its `name`, its number of `images` and its `top1_error`, null without images; and
        the most frequent confusions, each with the class that the images are `of`, the class that
        they were `taken_for`, and the number of these `images`.
    """
    labels, predicted = evaluation.labels.tolist(), evaluation.predicted.tolist()
    pairs = list(zip(labels, predicted, strict=True))
    images = collections.Counter(labels)
    right = collections.Counter(label for label, guess in pairs if label == guess)
    wrong = collections.Counter((label, guess) for label, guess in pairs if label != guess)
    return {
        **{name: _or_none(value) for name, value in evaluation.metrics.items()},
        "images": len(labels),
        "classes": [
            {
                "name": name,
                "images": images[i],
                "top1_error": 100 * (1 - right[i] / images[i]) if images[i] else None,
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
    """Returns the accounts of several checkpoints' models, `model` and `averaged`.

    Args:
        evaluations: of each checkpoint, by prefix, as `Evaluator.of_state` returns them.
        classes: the names of the labels.
    """
    return {
        which: {
            "averaged" if prefix else "model": account(evaluation, classes)
            for prefix, evaluation in by_prefix.items()
        }
        for which, by_prefix in evaluations.items()
    }


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
