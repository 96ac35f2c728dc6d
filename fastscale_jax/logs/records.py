"""Records a run: its config, and its metrics as JSON lines and as TensorBoard events."""

import contextlib
import json
import math
import numbers
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from fastscale_jax.logs.events import EventLog
from fastscale_jax.logs.optional_files import OptionalFiles
from fastscale_jax.utils import guarded_file, json_file
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.whole_file import write_text

_NAME = re.compile(r"(?P<ema>ema_)?((?P<split>train|test)_)?(?P<rest>.+)")


class Recorder(contextlib.AbstractContextManager["Recorder"]):
    """Appends metrics to `metrics.jsonl`, and the same scalars to TensorBoard events.

    Records are only appended, so a killed run loses none, and a resumed run continues in the same
    workdir. A resumed run may start before the last recorded step: `read_metrics` and TensorBoard
    then show its records instead of the old ones. Only one process of a run has a `Recorder`. Use
    it in a `with` statement, or call `close`.

    If writing fails, for instance on a full disk, records stay in memory and are written later.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        last_step: int | None = None,
        *,
        is_evaluation_due: bool = False,
        beside: OptionalFiles | None = None,
    ) -> None:
        """Opens `workdir/metrics.jsonl` for appending, and creates `workdir` if needed.

        Args:
            workdir: folder of `metrics.jsonl` and the event files.
            last_step: the step from which the run resumes; later records are removed, as the run
                writes them again. None: all are kept.
            is_evaluation_due: whether the record of an evaluation at `last_step` is removed too.
            beside: writes the files; None: one that reports on stderr.

        Raises:
            ValueError: `metrics.jsonl` is not a regular file, or `read_metrics` cannot read it.
        """
        workdir.mkdir(parents=True, exist_ok=True)
        self._beside = beside or OptionalFiles(complain)
        self._path = workdir / "metrics.jsonl"
        _drop_partial_line(self._path)
        earlier = read_metrics(self._path)
        self._replacement: list[dict[str, float | int]] | None = None  # replaces the file's records
        if last_step is not None:
            end = (last_step, not is_evaluation_due)
            kept = [r for r in earlier if (r["step"], "test_loss" in r) <= end]
            self._replacement = kept if kept != earlier else None
        self._earlier_step = earlier[-1]["step"] if earlier else -1
        self._step = -1
        self._lines: list[str] = []  # pending lines
        self._log, self._events = EventLog(), b""
        self._events_path = workdir / self._log.name
        self._beside.write(self._path.name, self._write_lines)

    def __exit__(self, *raised: object) -> None:
        """Writes pending records, also after an error."""
        self.close()

    def write(self, record: Mapping[str, float | int]) -> None:
        """Appends one line to `metrics.jsonl` and one point to each TensorBoard chart.

        JSON has no NaN and no infinity: both are written as `null`, and `read_metrics` gives NaN
        for it. TensorBoard gets NaN and infinity, and marks them. A `test_` metric is charted under
        `test/`, any other under `train/`: `train/loss`, `test/top1_error`, `test/ema_top1_error`,
        `train/learning_rate`.

        Args:
            record: `step`, `epoch` and any metrics, under their names in `metrics.jsonl`.

        Raises:
            ValueError: `step` or `epoch` is missing, or the step is before that of the last record.
        """
        values = {name: _number(value) for name, value in record.items()}
        missing = [name for name in ("step", "epoch") if name not in values]
        if missing:
            raise ValueError(f"a record needs `step` and `epoch`, and has only {list(values)}")
        step = int(values["step"])
        if step < self._step:
            raise ValueError(f"step {step} comes after step {self._step}: steps must not go back")
        if self._step < 0:
            purges = step if step <= self._earlier_step else None
            self._events = self._log.beginning(purges)
        self._step = step
        self._lines.append(_as_line(values))
        scalars = {_tag(name): value for name, value in values.items() if name != "step"}
        self._events += self._log.scalars(step, scalars)
        self._beside.write(self._path.name, self._write_lines)
        self._beside.write("TensorBoard events", self._write_events)

    def close(self) -> None:
        """Writes pending records; reports if that fails."""
        self._beside.close()

    def _write_lines(self) -> None:
        lines = "".join(self._lines)
        if self._replacement is None:
            guarded_file.append(self._path, lines.encode())
        else:
            write_text(self._path, "".join(map(_as_line, self._replacement)) + lines)
        self._lines, self._replacement = [], None

    def _write_events(self) -> None:
        guarded_file.append(self._events_path, self._events)
        self._events = b""


def read_metrics(path: pathlib.Path) -> list[dict[str, float | int]]:
    """Returns the records of a `metrics.jsonl`, in the order of their steps.

    An incomplete last line, from a killed run, is ignored. If a run was resumed from a step before
    its last record, records from that step on are only those of the resumed run.

    Args:
        path: the file; without a file there are no records.

    Returns:
        One dict per line, with NaN for `null`.

    Raises:
        ValueError: a line other than the last is not a record, or the file cannot be read.
    """
    try:
        lines = guarded_file.read(path).decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    records: list[dict[str, float | int]] = []
    for number, line in enumerate(lines, start=1):
        record = _parse(line)
        if record is None:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number} is not a record: {line[:80]!r}")
        if any(_supersedes(record, r) for r in records[-2:]):
            records = [r for r in records if r["step"] < record["step"]]
        records.append(record)
    return records


def _supersedes(record: Mapping[str, float], earlier: Mapping[str, float]) -> bool:
    """Whether a record shows that the run was resumed at or before an earlier record's step."""
    if record["step"] == earlier["step"]:
        return record.keys() <= earlier.keys()
    return record["step"] < earlier["step"]


def _as_line(values: Mapping[str, float | int]) -> str:
    line = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return json.dumps(line, allow_nan=False) + "\n"


def write_config(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Writes `workdir/config.json` by `write_json`."""
    write_json(workdir / "config.json", config)


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file, completely or not at all, and keeps the order of keys.

    Args:
        path: path of the file; its folder is created if needed; an existing file is replaced.
        content: nested dicts, lists, tuples, strings, numbers, bools and None.

    Raises:
        TypeError: a value has another type.
        ValueError: a value is NaN or infinite, which JSON does not support.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _number(value: Any) -> float | int:
    """A Python number from any scalar, also of NumPy or JAX."""
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _tag(name: str) -> str:
    match = _NAME.fullmatch(name)
    assert match, name
    return f"{match['split'] or 'train'}/{match['ema'] or ''}{match['rest']}"


def _parse(line: str) -> dict[str, float | int] | None:
    try:
        record = json_file.parsed(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    if any(type(value) not in (int, float, type(None)) for value in record.values()):
        return None
    return {name: math.nan if value is None else value for name, value in record.items()}


def _drop_partial_line(path: pathlib.Path) -> None:
    """Drops an incomplete last line of a killed run."""
    if path.is_symlink() or path.exists():
        with guarded_file.to_write(path) as file:
            os.ftruncate(file, guarded_file.read(path).rfind(b"\n") + 1)
