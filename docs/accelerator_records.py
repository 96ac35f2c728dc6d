"""What was compiled for GPUs and TPUs that are not here, for the manual's page on them.

`measure.curves --target=…` wrote the files, benchmarks/results/program_<name>_<target>.jsonl.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from docs.speed_tables import RESULTS
from fastscale_jax.display.table import DASH
from fastscale_jax.measure import points
from fastscale_jax.report.networks import ROWS, row_key

TARGETS = {"h100": "H100", "a100": "A100", "v100": "V100", "v5e": "TPU v5e"}  # by file name
FILES = ("curves", "rows", "alphas", "largest")
REFUSED = "refused"

Record = dict[str, Any]
Network = tuple[str, str, float]  # base, strategy, factor


def records(name: str, target: str) -> list[Record]:
    """Returns the records of a file, failed points among them; of no file, none.

    Args:
        name: one of `FILES`.
        target: a key of `TARGETS`.
    """
    return points.read(RESULTS / f"program_{name}_{target}.jsonl")


def by_target(name: str) -> dict[str, dict[Network, Record]]:
    """Returns the records of a file of each target, by their networks."""
    return {
        target: {(r["base"], r["strategy"], r["factor"]): r for r in records(name, target)}
        for target in TARGETS
    }


def of_row(name: str) -> Network:
    """Returns the network of a row of the paper's tables."""
    return row_key(name), ROWS[name].strategy, float(ROWS[name].factor)


def is_counted(record: Record) -> bool:
    """Returns whether there is a program."""
    return "floor_ms" in record


def outcome(record: Record) -> str:
    """Returns what became of a program; a dash where none was compiled."""
    if not record:
        return DASH
    if is_counted(record):
        return "fits" if record["fits"] else "does not fit"
    return REFUSED if record["error"] == "out of memory" else "failed"


def cell(record: Record, form: Callable[[Record], str]) -> str:
    """Returns a figure of a program, or why there is none."""
    return form(record) if is_counted(record) else outcome(record)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Returns a table whose first columns are words, and the others numbers."""
    rules = "".join("---|" if i < words else "--:|" for i in range(len(heads)))
    lines = [f"| {' | '.join(line)} |" for line in (heads, *rows)]
    return "\n".join([lines[0], f"|{rules}", *lines[1:]])
