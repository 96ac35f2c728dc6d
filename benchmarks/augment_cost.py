"""The share of a training step's time that augmentation on the device takes.

python -m benchmarks.augment_cost --output=benchmarks/results/augment_cost_<machine>.json

It times the step without and with all augmentation (flip, policy, lighting, mixing), and the
image preparation `alone`. All run in turns within one process, so that a slow moment of the machine
affects all. Compare shares, not milliseconds. On a shared machine use `alone`, because the other
share is a small difference of large numbers. It also times each part, and each operation on every
image of a batch.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.grouped_conv import milliseconds
from fastscale_jax.arch import as_architecture, model_config
from fastscale_jax.data.augment import image_ops, mixing, policies
from fastscale_jax.data.augment.augment_config import Augment
from fastscale_jax.data.augment.augmented import mixed
from fastscale_jax.data.pipeline import Batch
from fastscale_jax.measure.jax_runner import JaxRunner, plain_recipe
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.models.computation import image_keys
from fastscale_jax.train.step import training_images
from fastscale_jax.utils.huge_pages import start_fast

AUGMENTS = {
    "none": Augment.none(label_smoothing=0.1),
    "autoaugment": Augment(),
    "randaugment": Augment(policy="randaugment"),
}
Calls = dict[str, Callable[[], Any]]


def steps(network: str, batch: int, dtype: str) -> Calls:
    """Returns, for each augmentation, a compiled training step and its image preparation alone."""
    calls: Calls = {}
    for name, augment in AUGMENTS.items():
        architecture = as_architecture(model_config(*network.split(":")))
        runner = JaxRunner(architecture, plain_recipe(batch, dtype))
        recipe = dataclasses.replace(runner.task.recipe, augment=augment)
        runner.task = runner.task._replace(recipe=recipe)
        calls |= {f"step, {name}": runner.parts("step")["step"], f"alone, {name}": alone(runner)}
    return calls


def alone(runner: JaxRunner) -> Callable[[], Any]:
    """Returns a compiled call of a step's image preparation."""
    task, keys = runner.task, iter(jax.random.split(runner.key, 100_000))
    num_classes = task.model.architecture.num_classes

    @jax.jit
    def prepared(batch: Batch, key: Array) -> tuple[Array, Array]:
        images = training_images(task, batch, image_keys(key, len(batch.labels)))
        targets = jax.nn.one_hot(batch.labels, num_classes)
        return mixed(images, targets, key[None], task.recipe.augment)

    return lambda: jax.block_until_ready(prepared(runner.batch, next(keys)))


def parts(images: Array, num_classes: int) -> Calls:
    """Returns each part of the augmentation as a call; every call uses new random numbers."""
    pixels = images.astype(jnp.float32) / 255
    targets = jnp.eye(len(images), num_classes)
    keys = iter(jax.random.split(jax.random.key(0), 100_000))
    of_images = functools.partial(image_keys, images=len(images))
    functions: dict[str, Callable[[Array], Any]] = {
        "autoaugment": lambda key: policies.autoaugment(images, of_images(key)),
        "randaugment": lambda key: policies.randaugment(images, of_images(key)),
        "lighting": lambda key: policies.lighting(pixels, of_images(key)),
        "mixup": lambda key: mixing.mixup(pixels, targets, key, 0.2),
        "cutmix": lambda key: mixing.cutmix(pixels, targets, key, 1.0),
    }

    def call(function: Callable[[Array], Any]) -> Any:
        return jax.block_until_ready(function(next(keys)))

    return {name: functools.partial(call, jax.jit(f)) for name, f in functions.items()}


def operations(images: Array) -> Calls:
    """Returns each operation of the policy, applied to every image, as a call."""
    operate = jax.jit(image_ops.operate)

    def call(operation: int) -> Any:
        shape = (len(images), 1)
        return jax.block_until_ready(
            operate(images, jnp.full(shape, operation), jnp.full(shape, 0.5))
        )

    return {name: functools.partial(call, i) for i, name in enumerate(image_ops.NAMES)}


def shares(ms: Mapping[str, float], name: str) -> dict[str, float]:
    """Returns the added time of an augmentation, as a share of the step without any."""
    return {
        of: round((ms[f"{of}, {name}"] - ms[f"{of}, none"]) / ms["step, none"], 4)
        for of in ("step", "alone")
    }


def main() -> None:
    """Measures, prints and writes."""
    on_gpu = jax.default_backend() == "gpu"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a JSON file")
    parser.add_argument("--network", default="regnetz:500mf")
    parser.add_argument("--batch", type=int, default=256 if on_gpu else 8)
    parser.add_argument("--dtype", default="bfloat16" if on_gpu else "float32")
    parser.add_argument("--seconds", type=float, default=60, help="per set; there are three sets")
    arguments = parser.parse_args()
    architecture = as_architecture(model_config(*arguments.network.split(":")))
    shape = (arguments.batch, architecture.resolution, architecture.resolution, 3)
    images = jax.random.bits(jax.random.key(0), shape, jnp.uint8)
    sets = {
        "step": steps(arguments.network, arguments.batch, arguments.dtype),
        "parts": parts(images, architecture.num_classes),
        "operations": operations(images),
    }
    times = {f"{name}_ms": milliseconds(calls, arguments.seconds) for name, calls in sets.items()}
    result = {
        **provenance(describe()),
        "network": arguments.network,
        "batch": arguments.batch,
        "resolution": architecture.resolution,
        "dtype": arguments.dtype,
        **times,
        "share_of_step": {
            name: shares(times["step_ms"], name) for name in AUGMENTS if name != "none"
        },
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    start_fast()
    main()
