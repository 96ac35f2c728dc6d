"""Writes a run's files besides checkpoints: failures are reported once and stop nothing."""

from collections.abc import Callable


class OptionalFiles:
    """Writes files that a run does not need, and retries failed ones."""

    def __init__(
        self,
        tell: Callable[[str], object],
        remark: str = "; the run goes on and tries again",
    ) -> None:
        """Starts with nothing to write.

        Args:
            tell: prints a line for the user.
            remark: end of the line about a failure.
        """
        self._tell, self._remark = tell, remark
        self._due: dict[str, Callable[[], object]] = {}  # pending writes, by name
        self._failed: dict[str, str] = {}  # reported failures: name and reason

    def write(self, what: str, write: Callable[[], object]) -> None:
        """Writes a file, and retries pending ones.

        Args:
            what: name for messages; replaces a pending write of the same name.
            write: writes the file; raises OSError or ValueError on failure, and leaves no partial
                file.
        """
        self._due[what] = write
        for each in list(self._due):
            self._try(each)

    def _try(self, what: str) -> None:
        try:
            self._due[what]()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if what not in self._failed:
                self._tell(f"warning: cannot write {what}: {reason}{self._remark}")
            self._failed[what] = reason
            return
        del self._due[what]
        if self._failed.pop(what, None):
            self._tell(f"{what}: written again")

    def close(self) -> None:
        """Retries pending files once, and reports those that fail."""
        for what in list(self._due):
            self._try(what)
        for what in self._due:
            self._tell(f"warning: {what}: not written, {self._failed[what]}")
        self._due, self._failed = {}, {}
