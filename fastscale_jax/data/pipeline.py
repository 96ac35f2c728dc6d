"""Batches on the host: which images, in which order, as uint8.

The order is a function of seed, epoch and position alone, so a run can go on from any step
without anything about the data being stored.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastscale_jax.data.sources import Split


class Batch(NamedTuple):
    """A batch of one size always, so that one compiled step serves all of them."""

    images: np.ndarray  # [batch, h, w, 3] uint8
    labels: np.ndarray  # [batch] int32
    mask: np.ndarray  # [batch] bool; False: padding, not to be counted


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Returns the number of full batches; the images left over wait for another epoch.

    Raises:
        ValueError: the batch is larger than the split.
    """
    steps = split.examples // batch_size
    if not steps:
        raise ValueError(
            f"the batch size {batch_size} is larger than the {split.examples} training images"
        )
    return steps


def train_batches(
    split: Split, batch_size: int, *, seed: int, first_step: int = 0
) -> Iterator[Batch]:
    """Yields shuffled full batches for ever, from step `first_step` on.

    Each epoch has its own order; the images that do not fill its last batch are left out of it.

    Raises:
        ValueError: the batch is larger than the split.
    """
    steps = steps_per_epoch(split, batch_size)
    mask = np.ones(batch_size, bool)
    epoch, skipped = divmod(first_step, steps)
    while True:
        order = np.random.default_rng((seed, epoch)).permutation(split.examples)
        for step in range(skipped, steps):
            images, labels = split.take(order[step * batch_size : (step + 1) * batch_size])
            yield Batch(images, labels, mask)
        epoch, skipped = epoch + 1, 0


def eval_batches(split: Split, batch_size: int) -> Iterator[Batch]:
    """Yields every image once, in order; the last batch is padded and masked."""
    for step in range(math.ceil(split.examples / batch_size)):
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        mask = positions < split.examples
        images, labels = split.take(np.where(mask, positions, 0))
        yield Batch(images, labels, mask)
