"""Tables of the manual's page on fine-tuning, from what `benchmarks.finetune` wrote."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from docs.speed_tables import RESULTS

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


def _cells(outcome: Mapping[str, Any]) -> str:
    return (
        f"{outcome['steps']} | {outcome['mean']:.2f} ± {outcome['spread']:.2f} | "
        f"{outcome['seconds']:.1f}"
    )


def _source(result: Mapping[str, Any]) -> str:
    machine, seeds = result["machine"], len(result["sets"]["faces"]["methods"]["finetune"]["runs"])
    return (
        f"Mean ± standard deviation of {seeds} seeds; seconds of one core ({machine['device']}), "
        f"without compiling; jax {machine['versions']['jax']}; {machine['date']}; "
        f"`{result['command']}`."
    )
