"""What a run writes down: its config, and its metrics as JSON lines and as TensorBoard events."""

import contextlib
import json
import math
import numbers
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastscale_jax.utils.whole_file import replacing

_NAME = re.compile(r"(?P<ema>ema_)?((?P<split>train|test)_)?(?P<rest>.+)")


class Recorder(contextlib.AbstractContextManager["Recorder"]):
    """Appends metrics to `metrics.jsonl`, and the same scalars to TensorBoard events.

    Records are only ever added, so that a run that is killed loses none of its own, and a resumed
    run goes on in the same workdir. It may begin at an earlier step than the last one recorded:
    `read_metrics` and TensorBoard then show the new records in place of the old. Only one process
    of a run makes a `Recorder`. Use it in a `with` statement, or call `close`.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        last_step: int | None = None,
        *,
        is_evaluation_due: bool = False,
    ) -> None:
        """Opens `workdir/metrics.jsonl` to append to, and makes `workdir` if need be.

        Args:
            workdir: where `metrics.jsonl` and the event files go.
            last_step: records of later ones are taken out: the run goes on from there, and will
                write them again. None: all stay.
            is_evaluation_due: those of an evaluation at `last_step` are taken out too.

        Raises:
            ValueError: there is a `metrics.jsonl` that `read_metrics` cannot read.
        """
        workdir.mkdir(parents=True, exist_ok=True)
        self._workdir = workdir
        path = workdir / "metrics.jsonl"
        _mend(path)
        earlier = read_metrics(path)
        if last_step is not None:
            end = (last_step, not is_evaluation_due)
            kept = [r for r in earlier if (r["step"], "test_loss" in r) <= end]
            if kept != earlier:
                _write_records(path, kept)
        self._earlier_step = earlier[-1]["step"] if earlier else -1
        self._step = -1
        self._lines = path.open("a", encoding="utf-8", buffering=1)  # flushed at each line
        self._events: Any = None  # opened at the first record, when its step is known

    def __exit__(self, *raised: object) -> None:
        """Closes the files, whatever happened."""
        self.close()

    def write(self, record: Mapping[str, float | int]) -> None:
        """Appends one line to `metrics.jsonl` and one point to each TensorBoard chart.

        JSON has no NaN and no infinity: both are written as `null`, and `read_metrics` gives NaN
        for it. TensorBoard gets the value itself, and marks it. A `test_` metric is charted under
        `test/`, any other under `train/`: `train/loss`, `test/top1_error`, `test/ema_top1_error`,
        `train/learning_rate`.

        Args:
            record: `step`, `epoch` and any metrics, by the names of `metrics.jsonl`.

        Raises:
            ValueError: no `step` or no `epoch`, or a step before that of the last record.
        """
        values = {name: _number(value) for name, value in record.items()}
        missing = [name for name in ("step", "epoch") if name not in values]
        if missing:
            raise ValueError(f"a record needs `step` and `epoch`, and has only {list(values)}")
        step = int(values["step"])
        if step < self._step:
            raise ValueError(f"step {step} comes after step {self._step}: steps must not go back")
        self._step = step
        self._lines.write(_as_line(values))
        if self._events is None:
            self._events = self._open_events(step)
        for name, value in values.items():
            if name != "step":
                self._events.add_scalar(_tag(name), value, step)

    def close(self) -> None:
        """Writes out what is pending and closes the files. A second call does nothing."""
        self._lines.close()
        if self._events is not None:
            self._events.close()
            self._events = None

    def _open_events(self, step: int) -> Any:
        # tensorboardX imports PyTorch where it is installed, which takes a second, for tensors that
        # we do not have. Other writers need more: clu's and Flax's import TensorFlow or PyTorch,
        # and TensorBoard's own imports TensorFlow where it is installed.
        with _without("torch"):
            from tensorboardX import SummaryWriter

        return SummaryWriter(
            logdir=str(self._workdir),
            purge_step=step if step <= self._earlier_step else None,
            flush_secs=10,
            # The name has the time in whole seconds: a second writer within one would overwrite.
            filename_suffix=f".{time.time_ns()}",
        )


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Lets an optional package seem not to be installed, unless it is imported already.

    So it seems to all threads; none of ours imports it.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # pyright: ignore[reportArgumentType] # documented: an import fails
    try:
        yield
    finally:
        sys.modules.pop(package, None)


def read_metrics(path: pathlib.Path) -> list[dict[str, float | int]]:
    """Returns the records of a `metrics.jsonl`, in the order of their steps.

    A last line cut short by a killed run is left out. Where a run was resumed from a step before
    its last record, the records from that step on are those of the resumed run alone.

    Args:
        path: the file; one that does not exist has no records.

    Returns:
        One dict a line, with NaN where the line has `null`.

    Raises:
        ValueError: a line other than the last is not a record.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
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
    """Whether a record shows that the run went back: to before a step, or to one it recorded."""
    if record["step"] == earlier["step"]:
        return record.keys() <= earlier.keys()
    return record["step"] < earlier["step"]


def _as_line(values: Mapping[str, float | int]) -> str:
    line = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return json.dumps(line, allow_nan=False) + "\n"


def _write_records(path: pathlib.Path, records: Sequence[Mapping[str, float | int]]) -> None:
    """Replaces a `metrics.jsonl`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text("".join(map(_as_line, records)), encoding="utf-8")


def write_config(workdir: pathlib.Path, config: Mapping[str, Any]) -> None:
    """Writes `workdir/config.json`, as `write_json`."""
    write_json(workdir / "config.json", config)


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file, whole or not at all, with the keys in the order given.

    Args:
        path: its folder is made if need be; a file of that name is replaced.
        content: nested dicts, lists, tuples, strings, numbers, bools and None.

    Raises:
        TypeError: a value of another kind.
        ValueError: a NaN or an infinity, which JSON cannot hold.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _number(value: Any) -> float | int:
    """A Python number from any scalar: NumPy's and JAX's too."""
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _tag(name: str) -> str:
    match = _NAME.fullmatch(name)
    assert match, name
    return f"{match['split'] or 'train'}/{match['ema'] or ''}{match['rest']}"


def _parse(line: str) -> dict[str, float | int] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(record, dict) or "step" not in record:
        return None
    return {name: math.nan if value is None else value for name, value in record.items()}


def _mend(path: pathlib.Path) -> None:
    """Drops a last line that a killed run cut short, so that the next one starts afresh."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
