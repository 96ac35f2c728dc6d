"""Images that cannot be read: named, counted, and too many of them refused."""

import threading

from fastscale_jax.utils.console import complain

NAMED = 5  # are warned of one by one; the others are only counted
ALLOWED_SHARE = 0.01  # of a split; the run stops beyond it, for then something else is wrong
ALLOWED_ALWAYS = 10  # however small the split


class DataError(ValueError):
    """A data set that turned out to be no good while it was read."""


class BadImages:
    """What could not be read of a split. Several threads may add to it."""

    def __init__(self, examples: int) -> None:
        """Starts with none; `examples` are all images of the split."""
        self._allowed = max(ALLOWED_ALWAYS, int(examples * ALLOWED_SHARE))
        self._examples = examples
        self._reasons: dict[str, str] = {}  # by the image's name, in the order they were found
        self._reported = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def too_many(self) -> bool:
        """Whether the run should stop."""
        return len(self._reasons) > self._allowed

    def add(self, name: str, reason: str) -> None:
        """Counts an image, once whatever the number of times that it is met.

        Args:
            name: tells it from all others.
            reason: one line, with the name in it.
        """
        with self._lock:
            if name in self._reasons:
                return
            self._reasons[name] = reason
            if len(self._reasons) <= NAMED:
                complain(f"skipped: {reason}")

    def check(self) -> None:
        """Raises where there are too many.

        Raises:
            DataError: names them.
        """
        if self.too_many:
            names = list(self._reasons)
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            raise DataError(
                f"{len(names)} of {self._examples} images cannot be read, and at most "
                f"{self._allowed} may be skipped; mend or remove {', '.join(names[:20])}{more}"
            )

    def report(self) -> None:
        """Tells the total, where it has grown since the last report."""
        if len(self._reasons) > self._reported:
            self._reported = len(self._reasons)
            complain(
                f"skipped {self._reported:,} of {self._examples:,} images, which cannot be read"
            )
