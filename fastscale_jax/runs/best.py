"""The best evaluation of a run so far."""

import math
from collections.abc import Iterable, Mapping


class Best:
    """The lowest test error of a run, and the epoch that it came after.

    The error is the one that decides which checkpoint is the best, `train.evaluate.error_of`.
    """

    def __init__(
        self, error: float = math.inf, records: Iterable[Mapping[str, float]] = ()
    ) -> None:
        """Takes what is known of the run before.

        Args:
            error: of the best checkpoint, percent; infinity: there is none.
            records: of `metrics.jsonl`, where the epoch is looked up.
        """
        epochs = (r["epoch"] for r in records if _error_in(r) == error)
        self.error, self.epoch = error, next(epochs, None)

    def add(self, error: float | None, epoch: float) -> bool:
        """Takes in an evaluation; returns whether it is better than all before.

        Args:
            error: percent; None: the loss was not finite, and the evaluation does not count.
            epoch: epochs done.
        """
        if error is None or error >= self.error:
            return False
        self.error, self.epoch = error, epoch
        return True

    def in_words(self, name: str) -> str:
        """Returns the error and the epoch, for people.

        Args:
            name: of the best, as in "best average".
        """
        if math.isinf(self.error):
            return "no best yet"
        at = "" if self.epoch is None else f" at epoch {self.epoch:.1f}"
        return f"{name} {self.error:.2f} %{at}"


def _error_in(record: Mapping[str, float]) -> float | None:
    return record.get("ema_test_top1_error", record.get("test_top1_error"))
