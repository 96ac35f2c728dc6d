"""Splits off a test split, for data that have none."""

from collections.abc import Sequence

import numpy as np


def check_share(share: float) -> None:
    """Refuses a share that leaves a split empty.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(
            "these images have no test split, so a share of them must be held out: "
            f"data.holdout must be above 0 and below 1, as in 0.1; got {share:g}"
        )


def held_out(
    labels: np.ndarray, classes: Sequence[str], share: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Splits images by class: each split has its share of every class, at least one image.

    Args:
        labels: `[n]` ints, in an order that is the same each time.
        classes: names, in the order of labels.
        share: share of the images for the test split.
        seed: seed of the random choice.

    Returns:
        Indices of the training images and of the test images, both ascending.

    Raises:
        ValueError: the share is not between 0 and 1, or a class has only one image.
    """
    check_share(share)
    random, test = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label, name in enumerate(classes):
        images = np.flatnonzero(labels == label)
        if len(images) < 2:
            raise ValueError(
                f"the class {name!r} has {len(images)} image{'s' * (len(images) != 1)}, too few "
                "to hold one out and train on another; add images, or remove the class"
            )
        count = min(max(round(share * len(images)), 1), len(images) - 1)
        test[random.permutation(images)[:count]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
