"""A cache of compilation outcomes, by the program's content."""

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
    """A folder with a compressed file per program, about 0.5 MB each; the oldest are deleted.

    Attributes:
        folder: made at the first write; if that fails, nothing is cached.
    """

    folder: pathlib.Path = dataclasses.field(
        default_factory=lambda: pathlib.Path(default_folder()) / "targets"
    )

    def read(self, key: str) -> Outcome | None:
        """Returns the outcome of a program by its key; None: it is missing or damaged."""
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
            return  # with a full or read-only disk the program is only compiled again

    def _make_room(self) -> None:
        """Deletes the oldest files if there are too many."""
        files = sorted(self.folder.glob("*.json.gz"), key=lambda path: path.stat().st_mtime)
        for path in files[:-_MOST]:
            path.unlink(missing_ok=True)

    def _file(self, key: str) -> pathlib.Path:
        return self.folder / f"{key}.json.gz"
