"""Batches on the host: which images, in which order, as uint8.

The order is a function of seed, epoch and position alone, so a run can go on from any step
without anything about the data being stored, and each of several hosts knows its share.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np


class Batch(NamedTuple):
    """A batch of one size always, so that one compiled step serves all of them."""

    images: np.ndarray  # [batch, h, w, 3] uint8
    labels: np.ndarray  # [batch] int32
    mask: np.ndarray  # [batch] bool; False: padding, not to be counted


class Picks(NamedTuple):
    """Which images a host's part of a batch has."""

    indices: np.ndarray  # [n] int64, each below the split's examples
    seeds: np.ndarray  # [n, 2] int64, of what is random about each image
    mask: np.ndarray  # [n] bool; False: padding


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one host walks through a split.

    Attributes:
        examples: images in the split.
        batch_size: over all hosts.
        seed: of the order, and of what is random about the images.
        first_step: that training starts at.
        process_index: of this host.
        process_count: hosts. Each has as many rows of every batch as the others, one host's after
            another's, so that a batch has the same images whatever their number.

    Raises:
        ValueError: the batch cannot be shared out evenly.
    """

    examples: int
    batch_size: int
    seed: int = 0
    first_step: int = 0
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.process_count:
            raise ValueError(
                f"the batch size {self.batch_size} cannot be shared by {self.process_count} hosts; "
                "set --config.data.batch_size to a multiple of their number"
            )

    @property
    def rows(self) -> slice:
        """The rows of each batch that this host has."""
        part = self.batch_size // self.process_count
        return slice(self.process_index * part, (self.process_index + 1) * part)

    @property
    def epoch_steps(self) -> int:
        """Full batches in an epoch; the images left over wait for another one.

        Raises:
            ValueError: there is not one.
        """
        steps = self.examples // self.batch_size
        if not steps:
            raise ValueError(
                f"the batch size {self.batch_size} is larger than "
                f"the {self.examples} training images; set --config.data.batch_size"
            )
        return steps

    def epochs(self) -> Iterator[tuple[int, int]]:
        """Yields each epoch's number from `first_step` on, and how many steps to skip in it."""
        epoch, skipped = divmod(self.first_step, self.epoch_steps)
        while True:
            yield epoch, skipped
            epoch, skipped = epoch + 1, 0

    def epoch_seed(self, epoch: int) -> int:
        """Returns what the seeds of an epoch's images have in common."""
        return int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0])

    def train_picks(self) -> Iterator[Picks]:
        """Yields this host's rows of shuffled full batches for ever, from `first_step` on.

        Each epoch has its own order; the images that do not fill its last batch are left out.
        """
        mask = np.ones(self.batch_size // self.process_count, bool)
        for epoch, skipped in self.epochs():
            order = np.random.default_rng((self.seed, epoch)).permutation(self.examples)
            epoch_seed = self.epoch_seed(epoch)
            for step in range(skipped, self.epoch_steps):
                positions = self._positions(step)
                seeds = np.stack([np.full_like(positions, epoch_seed), positions], axis=-1)
                yield Picks(order[positions], seeds, mask)

    def eval_picks(self) -> Iterator[Picks]:
        """Yields this host's rows of every image once, in order; the last batch is padded."""
        for step in range(math.ceil(self.examples / self.batch_size)):
            positions = self._positions(step)
            mask = positions < self.examples
            seeds = np.zeros((len(positions), 2), np.int64)
            yield Picks(np.where(mask, positions, 0), seeds, mask)

    def _positions(self, step: int) -> np.ndarray:
        return step * self.batch_size + np.arange(self.rows.start, self.rows.stop)


class Split(Protocol):
    """Labelled images, in memory or in files."""

    @property
    def examples(self) -> int:
        """How many there are."""
        ...

    def at(self, resolution: int, workers: int) -> "Split":
        """Returns the same images at another resolution, decoded by so many threads."""
        ...

    def train_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields full batches for ever, as planned."""
        ...

    def eval_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields every image once; the last batch is padded and masked."""
        ...


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Returns the number of full batches; the images left over wait for another epoch.

    Raises:
        ValueError: the batch is larger than the split.
    """
    return Plan(split.examples, batch_size).epoch_steps


def train_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    first_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Yields this host's part of shuffled full batches for ever, from step `first_step` on.

    Each epoch has its own order; the images that do not fill its last batch are left out of it.

    Raises:
        ValueError: the batch is larger than the split, or cannot be shared out evenly.
    """
    plan = Plan(split.examples, batch_size, seed, first_step, process_index, process_count)
    return split.train_batches(plan)


def eval_batches(
    split: Split, batch_size: int, *, process_index: int = 0, process_count: int = 1
) -> Iterator[Batch]:
    """Yields this host's part of every image once; the last batch is padded and masked.

    Raises:
        ValueError: the batch cannot be shared out evenly.
    """
    plan = Plan(
        split.examples, batch_size, process_index=process_index, process_count=process_count
    )
    return split.eval_batches(plan)
