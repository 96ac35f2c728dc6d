"""Converts labels, numbers or names of classes, to integers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastscale_jax.arch.spelling import did_you_mean, nearest


def as_labels(
    labels: Sequence[Any], classes: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns labels as numbers, and the names of the classes.

    Args:
        labels: one per image; all integers from 0, or all names.
        classes: names, in the order of labels. None: the sorted names; for integers, the integers
            as names.

    Returns:
        Labels `[n]` int32, and names of the classes.

    Raises:
        ValueError: there are no labels; a label is not a class; or two classes have one name.
    """
    if not len(labels):
        raise ValueError("there is no image")
    if classes is not None:
        classes = tuple(map(str, classes))
        for name in {*classes}:
            if classes.count(name) > 1:
                raise ValueError(f"the class {name!r} is named twice")
    named = [isinstance(label, (str, bytes)) for label in labels]
    if not any(named):
        numbers = _checked(labels, None if classes is None else len(classes))
        names = range(int(numbers.max()) + 1) if classes is None else classes
        return numbers, tuple(map(str, names))
    if not all(named):
        name, number = labels[named.index(True)], labels[named.index(False)]
        raise ValueError(f"labels must be all names or all numbers; got {name!r} and {number!r}")
    texts = [x.decode() if isinstance(x, bytes) else str(x) for x in labels]
    classes = classes if classes is not None else tuple(sorted(set(texts)))
    return _numbered(texts, classes), classes


def check_every_class(labels: np.ndarray, classes: Sequence[str]) -> None:
    """Refuses a training set that lacks a class.

    Raises:
        ValueError: a class has no image; the message has the first such class.
    """
    present = set(labels.tolist())
    missing = [label for label in range(len(classes)) if label not in present]
    if missing:
        raise ValueError(
            f"the class {classes[missing[0]]!r} (label {missing[0]}) has no training image; each "
            "class needs one, and numbers of classes have no gaps"
        )


def _numbered(names: Sequence[str], classes: tuple[str, ...]) -> np.ndarray:
    numbers = {name: i for i, name in enumerate(classes)}
    for i, name in enumerate(names):
        if name not in numbers:
            meant = did_you_mean(nearest(name, classes))
            raise ValueError(
                f"the label {name!r} of image {i} is none of the {len(classes)} classes"
                + (f"; {meant}".rstrip() if meant else "")
            )
    return np.array([numbers[name] for name in names], np.int32)


def _checked(numbers: Sequence[Any], count: int | None) -> np.ndarray:
    labels = np.asarray(numbers)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            "labels must be one whole number or one name for each image; got an array of "
            f"{labels.dtype} with the shape {list(labels.shape)}"
        )
    limit = count if count is not None else np.iinfo(np.int32).max
    for i in np.flatnonzero((labels < 0) | (labels >= limit)):
        raise ValueError(
            f"the label {labels[i]} of image {i} is not a class: labels are numbers from 0"
            + (f" to {count - 1}" if count is not None else " on")
        )
    return labels.astype(np.int32)
