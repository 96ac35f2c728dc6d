"""Reads records from files, such that each host reads only its own.

To read a record, all records before it in its file must be read. So a split is divided into lanes,
each a range of its records. Every batch takes the same number of rows from each lane, in the order
of lanes. The number of lanes depends only on the split and the batch size, so batches are the same
for any number of hosts. A host reads only the lanes of its rows.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastscale_jax.data.pipeline import Plan
from fastscale_jax.data.sources.tensorflow_cpu import tf
from fastscale_jax.data.sources.views import Tensor

MOST_LANES = 64  # up to 64 hosts read only their own records; one host can read all lanes
# totals over all lanes; the buffer has about 1 GB of ImageNet's records
_SHUFFLE_BUFFER, _FILES_AT_ONCE = 8192, 16
_RECORDS_AT_ONCE = 16  # from one file


@dataclasses.dataclass(frozen=True)
class Piece:
    """A range of a file's records."""

    path: str
    skip: int
    take: int


@dataclasses.dataclass(frozen=True, eq=False)
class Lanes:
    """The lanes of a split, and the order in which one host reads them.

    Attributes:
        pieces: the pieces of each lane; at least one, with at least one record.
        plan: the order; the number of lanes divides its batch size.
    """

    pieces: Sequence[Sequence[Piece]]
    plan: Plan

    def train(self) -> Any:
        """Returns this host's records of shuffled full batches as planned, without end.

        Files are shuffled, then the records in a buffer; the order depends on seed and epoch.

        Returns:
            A tf.data.Dataset of (record, seed `[2]` int64 for its random crop).
        """
        numbers = tf.TensorSpec((len(self._own_lanes), max(map(len, self.pieces))), tf.int64)
        lanes = {"path": tf.TensorSpec(numbers.shape, tf.string), "skip": numbers, "take": numbers}
        number = tf.TensorSpec((), tf.int64)
        epochs = tf.data.Dataset.from_generator(
            self._epochs, output_signature=(lanes, number, number)
        )
        return epochs.flat_map(self._of_epoch)

    def eval(self) -> Any:
        """Returns each of this host's records once; other records fill the last batch.

        Returns:
            A tf.data.Dataset of (record, whether it is counted).
        """
        steps = math.ceil(self.plan.examples / self.plan.batch_size)

        def of_lane(lane: dict[str, Tensor]) -> Any:
            records = self._records(lane).repeat().take(steps * self._rows_of_lane)
            count = tf.reduce_sum(lane["take"])
            return records.enumerate().map(lambda i, record: (record, i < count))

        lanes = self._stacked([list(self.pieces[lane]) for lane in self._own_lanes])
        return self._joined(lanes, of_lane).map(lambda position, content: content)

    @property
    def _rows_of_lane(self) -> int:
        return self.plan.batch_size // len(self.pieces)

    @property
    def _own_lanes(self) -> range:
        """The lanes of this host's rows."""
        rows, lane_rows = self.plan.rows, self._rows_of_lane
        return range(rows.start // lane_rows, math.ceil(rows.stop / lane_rows))

    def _epochs(self) -> Iterator[tuple[dict[str, np.ndarray], int, int]]:
        for epoch, skipped_steps in self.plan.epochs():
            lanes = []
            for lane in self._own_lanes:
                random = np.random.default_rng((self.plan.seed, epoch, lane))
                pieces = self.pieces[lane]
                lanes.append([pieces[i] for i in random.permutation(len(pieces))])
            yield self._stacked(lanes), self.plan.epoch_seed(epoch), skipped_steps

    def _of_epoch(self, lanes: dict[str, Tensor], seed: Tensor, skipped_steps: Tensor) -> Any:
        buffer = max(1, _SHUFFLE_BUFFER // len(self.pieces))
        records_of_lane = self.plan.epoch_steps * self._rows_of_lane

        def of_lane(lane: dict[str, Tensor]) -> Any:
            shuffled = self._records(lane).shuffle(buffer, seed=seed + lane["number"])
            return shuffled.take(records_of_lane).skip(skipped_steps * self._rows_of_lane)

        return self._joined(lanes, of_lane, skipped_steps).map(
            lambda position, record: (record, tf.stack([seed, position]))
        )

    def _stacked(self, lanes: Sequence[list[Piece]]) -> dict[str, np.ndarray]:
        """Returns arrays `[lanes, pieces]`; shorter lanes have empty pieces at their end."""
        most = max(map(len, self.pieces))
        full = [lane + [Piece(lane[0].path, 0, 0)] * (most - len(lane)) for lane in lanes]
        return {
            "path": np.array([[piece.path for piece in lane] for lane in full]),
            "skip": np.array([[piece.skip for piece in lane] for lane in full], np.int64),
            "take": np.array([[piece.take for piece in lane] for lane in full], np.int64),
        }

    def _joined(
        self,
        lanes: dict[str, Any],
        of_lane: Callable[[dict[str, Tensor]], Any],
        skipped_steps: Tensor | int = 0,
    ) -> Any:
        """Returns this host's rows of all batches, with their positions in the epoch."""
        rows, first = (
            len(self._own_lanes) * self._rows_of_lane,
            self._own_lanes.start * self._rows_of_lane,
        )
        joined = tf.data.Dataset.from_tensor_slices(
            {**lanes, "number": np.array(self._own_lanes, np.int64)}
        ).interleave(
            of_lane,
            cycle_length=len(self._own_lanes),
            block_length=self._rows_of_lane,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

        def with_position(i: Tensor, content: Any) -> tuple[Tensor, Any]:
            step, row = skipped_steps + i // rows, first + i % rows
            return step * self.plan.batch_size + row, content

        def is_ours(position: Tensor, content: Any) -> Tensor:
            del content
            row = position % self.plan.batch_size
            return (self.plan.rows.start <= row) & (row < self.plan.rows.stop)

        return joined.enumerate().map(with_position).filter(is_ours)

    def _records(self, lane: dict[str, Tensor]) -> Any:
        """Returns a lane's records, in an order that is the same each time."""

        def of_piece(piece: dict[str, Tensor]) -> Any:
            records = tf.data.TFRecordDataset(piece["path"])
            # reading a truncated file may end without an error; without this check, later rows
            # would come from other lanes
            whole = tf.data.experimental.assert_cardinality(piece["take"])
            return records.skip(piece["skip"]).take(piece["take"]).apply(whole)

        pieces = {name: lane[name] for name in ("path", "skip", "take")}
        return tf.data.Dataset.from_tensor_slices(pieces).interleave(
            of_piece,
            cycle_length=max(1, _FILES_AT_ONCE // len(self.pieces)),
            block_length=_RECORDS_AT_ONCE,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
