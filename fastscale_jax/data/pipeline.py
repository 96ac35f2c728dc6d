"""Batches on the host: their images, in uint8, and the order of images.

The order depends only on seed, epoch and position. So a run can resume at any step without stored
data state, and each host knows its share.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np


class Batch(NamedTuple):
    """A batch; all have the same size, so one compiled step can process each."""

    images: np.ndarray  # [batch, h, w, 3] uint8
    labels: np.ndarray  # [batch] int32
    mask: np.ndarray  # [batch] bool; False: padding, not counted


class Picks(NamedTuple):
    """The images of a host's part of a batch, by index."""

    indices: np.ndarray  # [n] int64, indices in the split
    seeds: np.ndarray  # [n, 2] int64, random seeds of the images' augmentation on the host
    mask: np.ndarray  # [n] bool; False: padding


@dataclasses.dataclass(frozen=True)
class Plan:
    """The order in which one host reads a split.

    Attributes:
        examples: number of images in the split.
        batch_size: images per batch, over all hosts.
        seed: seed of the order and of random crops.
        first_step: the step at which training starts.
        process_index: index of this host.
        process_count: number of hosts. Each host has an equal range of rows of every batch, so a
            batch has the same images for any number of hosts.

    Raises:
        ValueError: the number of hosts does not divide the batch size.
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
        """This host's rows of each batch."""
        part = self.batch_size // self.process_count
        return slice(self.process_index * part, (self.process_index + 1) * part)

    @property
    def epoch_steps(self) -> int:
        """Number of full batches in an epoch; the other images are left out of this epoch.

        Raises:
            ValueError: there is no full batch.
        """
        steps = self.examples // self.batch_size
        if not steps:
            raise ValueError(
                f"the batch size {self.batch_size} is larger than "
                f"the {self.examples} training images; set --config.data.batch_size"
            )
        return steps

    def epochs(self) -> Iterator[tuple[int, int]]:
        """Yields (epoch, number of steps to skip in it), starting at `first_step`."""
        epoch, skipped = divmod(self.first_step, self.epoch_steps)
        while True:
            yield epoch, skipped
            epoch, skipped = epoch + 1, 0

    def epoch_seed(self, epoch: int) -> int:
        """Returns the common part of the seeds of an epoch's images."""
        return int(np.random.SeedSequence((self.seed, epoch)).generate_state(1)[0])

    def train_picks(self) -> Iterator[Picks]:
        """Yields this host's rows of shuffled full batches, from `first_step`, without end.

        Each epoch has its own order; images that do not fill a batch are left out.
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
        """Number of images."""
        ...

    def at(self, resolution: int, workers: int) -> "Split":
        """Returns the same images at another resolution, decoded by `workers` threads."""
        ...

    def train_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields full batches as planned, without end."""
        ...

    def eval_batches(self, plan: Plan) -> Iterator[Batch]:
        """Yields every image once; the last batch is padded and masked."""
        ...


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Returns the number of full batches in an epoch.

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
    """Yields this host's part of shuffled full batches, from step `first_step`, without end.

    Each epoch has its own order; images that do not fill a batch are left out of it.

    Raises:
        ValueError: the batch is larger than the split, or not divisible by the number of hosts.
    """
    plan = Plan(split.examples, batch_size, seed, first_step, process_index, process_count)
    return split.train_batches(plan)


def eval_batches(
    split: Split, batch_size: int, *, process_index: int = 0, process_count: int = 1
) -> Iterator[Batch]:
    """Yields this host's part of every image once; the last batch is padded and masked.

    Raises:
        ValueError: the number of hosts does not divide the batch size.
    """
    plan = Plan(
        split.examples, batch_size, process_index=process_index, process_count=process_count
    )
    return split.eval_batches(plan)
