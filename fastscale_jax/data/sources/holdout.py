"""A test split for data that have none."""

from collections.abc import Sequence

import numpy as np


def check_share(share: float) -> None:
    """Refuses a share that leaves one of the two splits empty.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(
            "these images have no test split of their own, so a share of them must be held out: "
            f"data.holdout must be above 0 and below 1, as in 0.1; got {share:g}"
        )


def held_out(
    labels: np.ndarray, classes: Sequence[str], share: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Splits images by class: each split has its share of every class, and at least one image.

    Args:
        labels: `[n]` ints, in an order that is always the same.
        classes: names, in the order of their labels.
        share: of the images that are held out.
        seed: of the choice.

    Returns:
        Indices of the images to train and to test, each ascending.

    Raises:
        ValueError: the share is not between 0 and 1, or a class has a single image.
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
