"""The best evaluation of a run so far."""

import math
from collections.abc import Iterable, Mapping


class Best:
    """The lowest test error of a run, and its epoch.

    This error, `train.evaluate.error_of`, decides which checkpoint is the best.
    """

    def __init__(
        self, error: float = math.inf, records: Iterable[Mapping[str, float]] = ()
    ) -> None:
        """Starts from the run's earlier results.

        Args:
            error: error of the best checkpoint, percent; infinity: there is none.
            records: records of `metrics.jsonl`, to look up the epoch.
        """
        epochs = (r["epoch"] for r in records if _error_in(r) == error)
        self.error, self.epoch = error, next(epochs, None)

    def add(self, error: float | None, epoch: float) -> bool:
        """Adds an evaluation; returns whether it is better than all before.

        Args:
            error: percent; None: the loss was not finite, so the evaluation does not count.
            epoch: epochs done.
        """
        if error is None or error >= self.error:
            return False
        self.error, self.epoch = error, epoch
        return True

    def in_words(self, name: str) -> str:
        """Returns the error and the epoch as text.

        Args:
            name: label, as in "best average".
        """
        if math.isinf(self.error):
            return "no best yet"
        at = "" if self.epoch is None else f" at epoch {self.epoch:.1f}"
        return f"{name} {self.error:.2f} %{at}"


def _error_in(record: Mapping[str, float]) -> float | None:
    return record.get("ema_test_top1_error", record.get("test_top1_error"))
