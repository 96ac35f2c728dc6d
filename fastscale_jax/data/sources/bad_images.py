"""Counts and reports unreadable images, and stops a run with too many of them."""

import threading

from fastscale_jax.utils.console import complain

NAMED = 5  # number of images that get a message; the others are only counted
ALLOWED_SHARE = 0.01  # of a split; with more the run stops, as something else is wrong
ALLOWED_ALWAYS = 10  # number allowed in any split, however small


class DataError(ValueError):
    """A data set has errors that are found only while it is read."""


class BadImages:
    """The unreadable images of a split; thread-safe."""

    def __init__(self, examples: int) -> None:
        """Starts empty; `examples`: number of images in the split."""
        self._allowed = max(ALLOWED_ALWAYS, int(examples * ALLOWED_SHARE))
        self._examples = examples
        self._reasons: dict[str, str] = {}  # by image name, in order of discovery
        self._reported = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def too_many(self) -> bool:
        """Whether so many are unreadable that the run should stop."""
        return len(self._reasons) > self._allowed

    def add(self, name: str, reason: str) -> None:
        """Counts an image, only once if it is added again.

        Args:
            name: unique name of the image.
            reason: one line that includes the name.
        """
        with self._lock:
            if name in self._reasons:
                return
            self._reasons[name] = reason
            if len(self._reasons) <= NAMED:
                complain(f"skipped: {reason}")

    def check(self) -> None:
        """Raises an error if there are too many.

        Raises:
            DataError: there are too many; the message has their names.
        """
        if self.too_many:
            names = list(self._reasons)
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            raise DataError(
                f"{len(names)} of {self._examples} images cannot be read, and at most "
                f"{self._allowed} may be skipped; repair or remove {', '.join(names[:20])}{more}"
            )

    def report(self) -> None:
        """Prints the total, if it has grown since the last report."""
        if len(self._reasons) > self._reported:
            self._reported = len(self._reasons)
            complain(
                f"skipped {self._reported:,} of {self._examples:,} images, which cannot be read"
            )
