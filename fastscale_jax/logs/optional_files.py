"""What a run writes beside its checkpoints: a failure is said once, and stops nothing."""

from collections.abc import Callable


class OptionalFiles:
    """Writes files that a run can do without, and tries again those that could not be written."""

    def __init__(
        self,
        tell: Callable[[str], object],
        remark: str = "; the run goes on, and it is tried again",
    ) -> None:
        """Starts with nothing to write.

        Args:
            tell: shows a line to a person.
            remark: ends the line about a failure.
        """
        self._tell, self._remark = tell, remark
        self._due: dict[str, Callable[[], object]] = {}  # by what they write
        self._failed: dict[str, str] = {}  # of these, those that were said, and why

    def write(self, what: str, write: Callable[[], object]) -> None:
        """Writes something, and what could not be written before.

        Args:
            what: it writes, for people; takes the place of what is still to be written of that
                name.
            write: raises OSError or ValueError if it cannot, and leaves nothing half written.
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
        """Tries a last time, and says what was not written."""
        for what in list(self._due):
            self._try(what)
        for what in self._due:
            self._tell(f"warning: {what}: not written, {self._failed[what]}")
        self._due, self._failed = {}, {}
