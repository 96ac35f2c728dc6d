"""The output of a search: results as JSON lines, and the distribution of errors."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from fastscale_jax.display.figure import Axis, Curve, Figure, Panel, Point
from fastscale_jax.display.origins import Origin
from fastscale_jax.search.attempts import STOPPED_AT
from fastscale_jax.search.jobs import DONE, STOPPED, Entry
from fastscale_jax.utils.whole_file import replacing

_TOLD = (DONE, STOPPED)


def record(entry: Entry) -> dict[str, Any]:
    """Returns an entry that is done or stopped as a line of `results.jsonl`."""
    job = entry.job
    return {
        "number": job.number,
        "network": job.network.name,
        **job.parameters,
        "seed": job.seed,
        **job.costs,
        "error": entry.error,
        "worker": entry.worker,
        **entry.facts,
    }


def write_results(entries: Sequence[Entry], folder: pathlib.Path) -> pathlib.Path:
    """Writes the entries that are done or stopped to `results.jsonl`, and returns its path.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.jsonl"
    lines = [json.dumps(record(entry)) for entry in entries if entry.state in _TOLD]
    # several workers may end at the same time; they write the same content
    with replacing(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def distribution(entries: Sequence[Entry]) -> list[tuple[float, float]]:
    """Returns the errors in order, each with the share of networks with at most that error.

    This is the empirical distribution function of arXiv:2003.13678, section 3.1. Networks that
    diverged or were stopped by halving count as having a larger error than all others.
    """
    errors = sorted(entry.error for entry in entries if entry.error is not None)
    return [(error, (i + 1) / len(entries)) for i, error in enumerate(errors)]


def distribution_figure(entries: Sequence[Entry], title: str) -> Figure:
    """Returns the distribution of errors as a figure, named `edf`.

    Args:
        entries: entries, at least one of them done.
        title: the figure's title.
    """
    pairs = distribution(entries)
    best, _ = pairs[0]
    points = tuple(Point(*each) for each in ((best, 0.0), *pairs))
    curve = Curve("networks", Origin.TRAINED, points, "", is_step=True)
    panel = Panel(
        title,
        Axis("top-1 error, %", is_log=False),
        Axis("share of networks with at most this error", is_log=False, least=(0.0, 1.02)),
        (curve,),
    )
    return Figure("edf", title, "", (panel,), columns=1)


def trained_epochs(entries: Sequence[Entry]) -> list[str]:
    """Returns a line on the epochs saved by halving; empty: no network was stopped."""
    stopped = [entry.facts[STOPPED_AT] for entry in entries if entry.state == STOPPED]
    whole = [entry.facts["epochs"] for entry in entries if entry.state == DONE]
    if not stopped or not whole:
        return []
    trained, all_of_them = sum(stopped) + sum(whole), max(whole) * (len(stopped) + len(whole))
    return [
        f"trained: {trained:g} epochs instead of {all_of_them:g}; "
        f"{len(stopped)} of {len(entries)} networks were stopped early"
    ]
