"""The effect of the fine-tuning recipe: errors on small sets of real images, several seeds each.

python -m benchmarks.finetune --output=benchmarks/results/finetune_<machine>.json
python -m benchmarks.finetune --output=benchmarks/results/finetune_lite0_<machine>.json \
  --network=efficientnet:lite0 --side=48 --weights=efficientnet-lite0-57934424.pth
python -m benchmarks.finetune --output=benchmarks/results/finetune_along_<machine>.json \
  --network=efficientnet:lite0 --side=48 --weights=efficientnet-lite0-57934424.pth \
  --sets=photographs,digits --methods='from scratch,finetune' --every=50

It trains a network on three small sets of images in three ways: by the recipe of
`configs/finetune.py`; by the command that the manual had before that recipe; and from scratch by
the recipe of `configs/digits.py`, for at least as many steps. The initial weights come from a file;
for the small network they are trained on other images first.
With `--validate`, errors are of validation images, with other seeds; the recipe was chosen by
these. With `--every`, errors along the way are kept too, which tell when an error is reached.
Results in the output file are not computed again: delete outdated ones from it.
Needs scikit-image and mlxtend.
"""

import argparse
import importlib.metadata
import json
import math
import pathlib
import statistics
import tempfile
from typing import Any

import jax
import numpy as np

from benchmarks.finetune_images import ImageSet, image_sets, pretraining_images
from benchmarks.finetune_training import SMALL, Training, network_config
from configs import digits, finetune
from fastscale_jax.data.sources.arrays import ArraySplit
from fastscale_jax.interop import load
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.runs.named import named_config

PACKAGES = ("scikit-image", "scikit-learn")
OF_PRETRAINING = "mlxtend"
METHODS = ("documented", "from scratch", "finetune")
# changes of the recipe in the other rows of the table
ABLATIONS: dict[str, dict[str, Any]] = {
    "frozen backbone": {"train.freeze": "backbone"},
    "frozen BatchNorm": {"train.freeze": "*.bn.*"},
    "sgd": {"optim.name": "sgd", "optim.learning_rate": 0.64, "optim.weight_decay": 1e-4},
    "layer_decay 0.7": {"optim.layer_decay": 0.7},
    "head_rate 10": {"optim.head_rate": 10.0},
    "400 steps": {"train.least_steps": 400},
}
ABLATED = ("photographs",)  # sets for these rows
SCRATCH_STEPS = 1200  # more steps than the fine-tuning recipe's
SETS = ("digits", "photographs", "faces")
SEEDS, VALIDATION_SEEDS = range(5), range(100, 105)


def recipe_of(method: str, images: int) -> Any:
    """Returns a recipe, a ConfigDict; the caller replaces its network.

    Args:
        method: `documented`, the manual's command before the recipe; `from scratch`, the digits
            recipe; `finetune`; or one of `ABLATIONS`.
        images: number of training images.
    """
    if method == "documented":
        config: Any = named_config(*SMALL.split(":"))
        config.data.batch_size, config.train.epochs, config.optim.learning_rate = 64, 10, 0.2
    elif method == "from scratch":
        config = digits.get_config()
        config.data.batch_size = 32  # as in the fine-tuning recipe
        epochs = math.ceil(SCRATCH_STEPS / (images // config.data.batch_size))
        config.optim.warmup_epochs *= epochs / config.train.epochs  # an eighth, as in digits
        config.train.epochs = epochs
    else:
        config = finetune.get_config(SMALL)
        config.update_from_flattened_dict(ABLATIONS.get(method, {}))
    return config


def pretrain(weights: pathlib.Path, side: int) -> dict[str, Any]:
    """Trains the small network's initial weights, and writes them to a file."""
    split = pretraining_images(side)
    order = np.random.default_rng(3).permutation(split.examples)
    train, test = (
        ArraySplit(split.images[part], split.labels[part], len(part))
        for part in (order[:-600], order[-600:])
    )
    config: Any = digits.get_config()
    config.data.batch_size, config.train.epochs = 128, 25
    classes = int(split.labels.max()) + 1
    config.model = network_config(SMALL, side, classes)
    training = Training(config, train.examples, test)
    result, model = training.trained(train, 0, None)
    variables = jax.device_get({"params": model.params, "batch_stats": model.batch_stats})
    load.save(str(weights), training.network, variables)
    return {"images": train.examples, "classes": classes, "steps": training.steps, **result}


def compared(
    network: str,
    images: ImageSet,
    method: str,
    is_validation: bool,
    weights: pathlib.Path,
    every: int,
) -> dict[str, Any]:
    """Trains with each seed; returns the runs, and the mean and spread of their errors."""
    config = recipe_of(method, images.training_images)
    config.model = network_config(network, images.pool.images.shape[1], images.classes)
    config.augment.update(images.augment)
    test = images.validation if is_validation else images.test
    training = Training(config, images.training_images, test)
    seeds = VALIDATION_SEEDS if is_validation else SEEDS
    begin = None if method == "from scratch" else weights
    runs = [training.trained(images.training(seed), seed, begin, every)[0] for seed in seeds]
    errors = [run["error"] for run in runs]
    return {
        "steps": training.steps,
        "batch_size": training.recipe.data.batch_size,
        "mean": round(statistics.mean(errors), 2),
        "spread": round(statistics.stdev(errors), 2),
        "seconds": round(statistics.median(run["seconds"] for run in runs), 1),
        "runs": runs,
    }


def main() -> None:
    """Trains, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a JSON file")
    parser.add_argument("--network", default=SMALL, help="family:variant")
    parser.add_argument("--side", type=int, default=32, help="side of the images, pixels")
    parser.add_argument("--weights", type=pathlib.Path, help="initial weights; made if missing")
    parser.add_argument("--sets", default=",".join(SETS), help="image sets, with commas between")
    parser.add_argument("--methods", help=f"with commas between; default: {', '.join(METHODS)}")
    parser.add_argument("--every", type=int, default=0, help="steps between errors along the way")
    parser.add_argument("--validate", action="store_true", help="errors of validation images")
    arguments = parser.parse_args()
    sets = arguments.sets.split(",")
    if not {*sets} <= {*SETS}:
        parser.error(f"--sets must be some of {','.join(SETS)}; got {arguments.sets}")
    before = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
    asked = (arguments.network, arguments.side, "validation" if arguments.validate else "test")
    recorded = before.get("network", SMALL), before.get("side", 32), before.get("split", asked[2])
    if before and recorded != asked:
        parser.error(f"{arguments.output} has results of {recorded}, not of {asked}")
    result: dict[str, Any] = {
        **provenance(describe()),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        **dict(zip(("network", "side", "split"), asked, strict=True)),
    }
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or pathlib.Path(folder) / "weights.safetensors"
        if "pretraining" in before:
            result["pretraining"] = before["pretraining"]
        if not weights.is_file():
            if arguments.network != SMALL:
                parser.error(f"weights of {arguments.network} are not made here; give --weights")
            result["packages"][OF_PRETRAINING] = importlib.metadata.version(OF_PRETRAINING)
            result["pretraining"] = pretrain(weights, arguments.side)
            print(result["pretraining"], flush=True)
        result["sets"] = before.get("sets", {})
        images_of = image_sets(arguments.side)
        for name in sets:
            images = images_of[name]
            done = before.get("sets", {}).get(name, {}).get("methods", {})
            is_ablated = arguments.network == SMALL and name in ABLATED
            methods = [*METHODS, *(ABLATIONS if is_ablated else ())]
            methods = arguments.methods.split(",") if arguments.methods else methods
            outcomes = result["sets"][name] = {
                "training_images": images.training_images,
                "test_images": (images.validation if arguments.validate else images.test).examples,
                "methods": dict(done),
            }
            for method in methods:
                outcome = done.get(method) or compared(
                    *(arguments.network, images, method, arguments.validate, weights),
                    every=arguments.every,
                )
                outcomes["methods"][method] = outcome
                print(name, method, {k: v for k, v in outcome.items() if k != "runs"}, flush=True)
                arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
