"""What compilers made of programs, kept by content, so that no question is compiled twice."""

import dataclasses
import gzip
import json
import pathlib
import zlib

from fastscale_jax.targets.program import Outcome
from fastscale_jax.utils.compiling import default_folder
from fastscale_jax.utils.whole_file import replacing

_MOST = 1000  # files


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder with a compressed file for each program, of some 0.5 MB; the oldest make room.

    Attributes:
        folder: made when something is kept; where that fails, nothing is.
    """

    folder: pathlib.Path = dataclasses.field(
        default_factory=lambda: pathlib.Path(default_folder()) / "targets"
    )

    def read(self, key: str) -> Outcome | None:
        """Returns the outcome of a program by its key; None: it is not there, or is damaged."""
        try:
            with gzip.open(self._file(key), "rt", encoding="utf-8") as file:
                return Outcome(**json.load(file))
        except (OSError, EOFError, ValueError, TypeError, zlib.error):
            return None

    def write(self, key: str, outcome: Outcome) -> None:
        """Keeps an outcome, whole or not at all."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (
                replacing(self._file(key)) as path,
                gzip.open(path, "wt", compresslevel=3, encoding="utf-8") as file,
            ):
                json.dump(dataclasses.asdict(outcome), file)
            self._make_room()
        except OSError:
            return  # a full or read-only disk costs the next question its time, and nothing else

    def _make_room(self) -> None:
        """Drops the files that were written first, where there are too many."""
        files = sorted(self.folder.glob("*.json.gz"), key=lambda path: path.stat().st_mtime)
        for path in files[:-_MOST]:
            path.unlink(missing_ok=True)

    def _file(self, key: str) -> pathlib.Path:
        return self.folder / f"{key}.json.gz"
