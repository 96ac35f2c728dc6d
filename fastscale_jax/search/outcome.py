"""What a search leaves behind: its results as JSON lines, their distribution, and the best one."""

import csv
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from fastscale_jax.search.jobs import DONE, Entry


def record(entry: Entry) -> dict[str, Any]:
    """Returns an entry that is done as a line of `results.jsonl`."""
    job = entry.job
    return {
        "number": job.number,
        "network": job.network.name,
        **job.parameters,
        "seed": job.seed,
        **job.costs,
        "error": entry.error,
        **entry.facts,
    }


def write_results(entries: Sequence[Entry], folder: pathlib.Path) -> pathlib.Path:
    """Writes what is done to `results.jsonl` in a folder, and returns its path.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.jsonl"
    lines = [json.dumps(record(entry)) for entry in entries if entry.state == DONE]
    replace(path, "".join(f"{line}\n" for line in lines))
    return path


def replace(path: pathlib.Path, text: str) -> None:
    """Writes a file at once: the workers of a search end together, and write the same.

    Raises:
        OSError: it cannot be written.
    """
    new = path.with_suffix(f".{os.getpid()}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def distribution(entries: Sequence[Entry]) -> list[tuple[float, float]]:
    """Returns the errors in order, each with the share of networks that have no larger one.

    That is the empirical distribution function of arXiv:2003.13678, section 3.1.
    """
    errors = sorted(entry.error for entry in entries if entry.error is not None)
    return [(error, (i + 1) / len(errors)) for i, error in enumerate(errors)]


def write_distribution(entries: Sequence[Entry], folder: pathlib.Path, title: str) -> None:
    """Writes `edf.csv`, `edf.png` and `edf.svg` to a folder.

    Args:
        entries: of which at least one is done.
        folder: that exists.
        title: of the figure.

    Raises:
        OSError: they cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = distribution(entries)
    with (folder / "edf.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("error_percent", "share"))
        writer.writerows(found)
    figure = Figure(figsize=(5.5, 4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    errors, shares = zip(*found, strict=True)
    axes.step([errors[0], *errors], [0, *shares], where="post", color="#1f6feb")
    axes.set_xlabel("top-1 error, %")
    axes.set_ylabel("share of networks with no larger error")
    axes.set_ylim(0, 1.02)
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, color="#e3e7eb")
    axes.spines[["top", "right"]].set_visible(False)
    for ending in ("png", "svg"):
        figure.savefig(folder / f"edf.{ending}")
