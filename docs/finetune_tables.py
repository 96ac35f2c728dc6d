"""Tables of the manual's page on fine-tuning, from what `benchmarks.finetune` wrote."""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from docs.speed_tables import RESULTS

ALONG = RESULTS / "finetune_along_small_intel.json"
ALONG_IMAGENET = RESULTS / "finetune_along_lite0_intel.json"
SMALL, IMAGENET = RESULTS / "finetune_intel.json", RESULTS / "finetune_lite0_amd.json"
_METHODS = {
    "documented": "the command before",
    "from scratch": "from scratch",
    "finetune": "**`finetune`**",
}


def small() -> str:
    """Returns the errors of each way to train the small network, on each set."""
    return _errors(SMALL)


def imagenet() -> str:
    """Returns the same of a network whose weights were trained on ImageNet."""
    return _errors(IMAGENET)


def _errors(file: pathlib.Path) -> str:
    result = json.loads(file.read_text(encoding="utf-8"))
    rows = ["| | training images | test images | steps | top-1 error, % | seconds |"]
    rows += ["|---|--:|--:|--:|--:|--:|"]
    for name, found in result["sets"].items():
        for number, (method, title) in enumerate(_METHODS.items()):
            sizes = f"{found['training_images']} | {found['test_images']}" if not number else " | "
            who = f"{name}: {title}" if not number else title
            rows.append(f"| {who} | {sizes} | {_cells(found['methods'][method])} |")
    return "\n".join([*rows, "", _source(result)])


def ablations() -> str:
    """Returns what changes of the recipe do, on the sets that they were tried on."""
    result = json.loads(SMALL.read_text(encoding="utf-8"))
    rows = ["| | steps | top-1 error, % | seconds |", "|---|--:|--:|--:|"]
    for name, found in result["sets"].items():
        others = [x for x in found["methods"] if x not in ("documented", "from scratch")]
        if len(others) > 1:
            rows += [f"| {name}: {x} | {_cells(found['methods'][x])} |" for x in others]
    return "\n".join(rows)


def until_equal() -> str:
    """Returns when the mean error is as low as the one that training from scratch ends with."""
    return _until_equal(ALONG)


def until_equal_imagenet() -> str:
    """Returns the same of a network whose weights were trained on ImageNet."""
    return _until_equal(ALONG_IMAGENET)


def _until_equal(file: pathlib.Path) -> str:
    result = json.loads(file.read_text(encoding="utf-8"))
    rows = ["| | error, % | from scratch: steps | seconds | `finetune`: steps | seconds |"]
    rows += ["|---|--:|--:|--:|--:|--:|"]
    for name, found in result["sets"].items():
        scratch, tuned = (found["methods"].get(x) for x in ("from scratch", "finetune"))
        if scratch and tuned:
            aim = _mean_along(scratch)[-1][2]
            cells = (_first(_mean_along(x), aim) for x in (scratch, tuned))
            rows.append(f"| {name} | {aim:.2f} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", _source(result, "Mean error")])


def _mean_along(outcome: Mapping[str, Any]) -> list[tuple[int, float, float]]:
    """Steps, seconds (median) and error (mean of all seeds), along the way and at the end."""
    points = (
        [*run["along"], [outcome["steps"], run["seconds"], run["error"]]] for run in outcome["runs"]
    )
    return [
        (one[0][0], statistics.median(x[1] for x in one), statistics.mean(x[2] for x in one))
        for one in zip(*points, strict=True)
    ]


def _first(curve: Sequence[tuple[int, float, float]], aim: float) -> str:
    """When a curve is first as low as asked."""
    reached = next((x for x in curve if x[2] <= aim), None)
    return "never | " if reached is None else f"{reached[0]:,} | {reached[1]:.1f}"


def _cells(outcome: Mapping[str, Any]) -> str:
    return (
        f"{outcome['steps']} | {outcome['mean']:.2f} ± {outcome['spread']:.2f} | "
        f"{outcome['seconds']:.1f}"
    )


def _source(result: Mapping[str, Any], what: str = "Mean ± standard deviation") -> str:
    machine = result["machine"]
    seeds = len(next(iter(result["sets"].values()))["methods"]["finetune"]["runs"])
    return (
        f"{what} of {seeds} seeds; seconds of one core ({machine['device']}), "
        f"without compiling; jax {machine['versions']['jax']}; {machine['date']}; "
        f"`{result['command']}`."
    )
