"""A run small enough for tests: three blocks, digits, four steps an epoch."""

import dataclasses
import pathlib
from typing import Any

from ml_collections import ConfigDict

from fastscale_jax import arch
from fastscale_jax.data.augment.augment_config import Augment
from fastscale_jax.runs.run import Run
from fastscale_jax.train.recipe import default_config

PER_STAGE = ("widths", "strides", "kernels", "group_widths", "expansions")


def tiny_config(**changes: Any) -> ConfigDict:
    """Returns a config whose runs take seconds; `changes` go by dotted key, `train.steps`."""
    config = default_config()
    config.variant = ""
    config.model = arch.scale(arch.model_config("regnetz"), "dWr", factor=1 / 64)
    config.model.update({field: config.model[field][:2] for field in PER_STAGE})
    config.model.update(depths=(1, 2), resolution=20, num_classes=10)
    config.model.update(dropout=0.1, stochastic_depth=0.1)  # so that every random key matters
    config.data.update(name="digits", batch_size=359)
    config.train.update(epochs=2, log_every_steps=2)
    config.optim.update(learning_rate=0.3, warmup_epochs=1.0)
    augment = Augment.none(shift=0.1, zoom=0.1, label_smoothing=0.1)
    config.augment.update(dataclasses.asdict(augment))
    config.ema.every_steps = 3
    config.bn.precise_images = 700  # two batches
    config.checkpoint.every_epochs = 1
    config.update_from_flattened_dict(changes)
    return config


def tiny_run(workdir: pathlib.Path, mode: str = "train", **changes: Any) -> Run:
    """Returns a prepared run of `tiny_config`."""
    return Run.prepare(tiny_config(**changes), workdir, mode)
