"""The effect of the recipe: errors on digits with and without it, over several seeds.

python -m benchmarks.digits_recipe --output=benchmarks/results/digits_recipe.json

`plain` has the same network, steps, rates and weight decay, but no shifts, mixup, label smoothing,
average or precise statistics.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
import tempfile
from typing import Any

from configs import digits
from fastscale_jax.data.augment.augment_config import Augment
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.runs.loop import train
from fastscale_jax.runs.run import Run

RECIPES: dict[str, dict[str, Any]] = {
    "plain": {
        "augment": dataclasses.asdict(Augment.none()),
        "ema": {"every_steps": 0},
        "bn": {"precise_images": 0},
    },
    "full": {},
}


def error(recipe: str, seed: int, epochs: int) -> dict[str, float]:
    """Trains once and returns the final evaluation."""
    config: Any = digits.get_config()
    config.seed = seed
    for section, values in RECIPES[recipe].items():
        config[section].update(values)
    if epochs:
        config.train.epochs = epochs
    with tempfile.TemporaryDirectory() as folder:
        return train(Run.prepare(config, pathlib.Path(folder), "train"))


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Returns mean and spread of the final error, of the averaged weights if there are any."""
    errors = [run.get("ema_test_top1_error", run["test_top1_error"]) for run in runs]
    return {
        "mean": round(statistics.mean(errors), 3),
        "spread": round(statistics.stdev(errors), 3),
        "least": round(min(errors), 3),
        "most": round(max(errors), 3),
    }


def main() -> None:
    """Trains, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a JSON file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="0: the config's")
    arguments = parser.parse_args()
    result: dict[str, Any] = {**provenance(describe()), "runs": {name: [] for name in RECIPES}}
    for seed in range(arguments.seeds):
        for recipe, runs in result["runs"].items():
            runs.append({"seed": seed, **error(recipe, seed, arguments.epochs)})
            print(recipe, runs[-1], flush=True)
    result["top1_error"] = {name: summary(runs) for name, runs in result["runs"].items()}
    print(json.dumps(result["top1_error"]))
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
