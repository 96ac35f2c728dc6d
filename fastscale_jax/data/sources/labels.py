"""Labels as people have them: numbers, or names of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastscale_jax.arch.spelling import did_you_mean, nearest


def as_labels(
    given: Sequence[Any], classes: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns labels as numbers, and the names of the classes.

    Args:
        given: one for each image, all whole numbers from 0 on, or all names.
        classes: their names, in the order of their labels. None: names are sorted; numbers are
            taken for names.

    Returns:
        `[n]` int32, and the names.

    Raises:
        ValueError: there are none; a label is no class; or a class has no image.
    """
    if not len(given):
        raise ValueError("there is no image")
    named = [isinstance(label, (str, bytes)) for label in given]
    if any(named):
        if not all(named):
            raise ValueError(
                "labels must be all names or all numbers; "
                f"got {given[named.index(True)]!r} and {given[named.index(False)]!r}"
            )
        texts = [x.decode() if isinstance(x, bytes) else str(x) for x in given]
        classes = tuple(classes) if classes is not None else tuple(sorted(set(texts)))
        labels = _numbered(texts, classes)
    else:
        labels = _checked(given, None if classes is None else len(classes))
        names = range(int(labels.max()) + 1) if classes is None else classes
        classes = tuple(map(str, names))
    return labels, classes


def check_every_class(labels: np.ndarray, classes: Sequence[str]) -> None:
    """Refuses a training set that lacks a class.

    Raises:
        ValueError: names the first class without an image.
    """
    present = set(labels.tolist())
    missing = [label for label in range(len(classes)) if label not in present]
    if missing:
        raise ValueError(
            f"the class {classes[missing[0]]!r} (label {missing[0]}) has no training image; labels "
            "must be 0, 1, 2, … without gaps, and each class needs an image"
        )


def _numbered(names: Sequence[str], classes: tuple[str, ...]) -> np.ndarray:
    numbers = {name: i for i, name in enumerate(classes)}
    if len(numbers) != len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise ValueError(f"the class {twice!r} is named twice")
    for i, name in enumerate(names):
        if name not in numbers:
            meant = did_you_mean(nearest(name, classes))
            raise ValueError(
                f"the label {name!r} of image {i} is none of the {len(classes)} classes"
                + (f"; {meant}".rstrip() if meant else "")
            )
    return np.array([numbers[name] for name in names], np.int32)


def _checked(given: Sequence[Any], count: int | None) -> np.ndarray:
    labels = np.asarray(given)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            "labels must be one whole number or one name for each image; got an array of "
            f"{labels.dtype} with the shape {list(labels.shape)}"
        )
    limit = count if count is not None else np.iinfo(np.int32).max
    for i in np.flatnonzero((labels < 0) | (labels >= limit)):
        raise ValueError(
            f"the label {labels[i]} of image {i} is no class: labels are numbers from 0"
            + (f" to {count - 1}" if count is not None else " on")
        )
    return labels.astype(np.int32)
