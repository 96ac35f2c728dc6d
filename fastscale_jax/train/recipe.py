"""The training recipe: every key of the config besides `model`, its default and its meaning.

The defaults are those of arXiv:2103.06877, section 6.1, for RegNets at the 1x schedule. Config
files start from them (`default_config`) and set what differs. The recipe has only primary values;
derived values, such as the number of steps, are computed in code.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from fastscale_jax.arch.spelling import meant
from fastscale_jax.data.augment.augment_config import Augment
from fastscale_jax.data.sources.conventions import MAX_PIXELS, MOST_PIXELS, SOURCES
from fastscale_jax.train.ranges import CHOICES, check_ranges

# batch size of the paper's learning rate; for others the rate is scaled in proportion
REFERENCE_BATCH_SIZE = 1024

# keys whose values are names; their case is ignored
_NAMES = CHOICES | {"data.name": tuple(SOURCES)}
# What runs of older versions did whose recorded config lacks a key, if it is not the default.
BEFORE = {"data.exif": False, "data.max_pixels": MOST_PIXELS}


@dataclasses.dataclass(frozen=True)
class Data:
    """`config.data`."""

    name: str = "synthetic"  # a source: digits, synthetic, folder, csv, tfds
    dir: str = ""  # a folder of images, a CSV file, or TFDS's data_dir; empty: TFDS's default
    tfds_name: str = "imagenet2012"  # a data set of TFDS for image classification
    batch_size: int = 1024  # images per step, over all devices; 0, or auto: one that fits
    workers: int = 0  # decoding threads on each host; 0: one per core
    holdout: float = 0.1  # share of images for evaluation, if the data have no such split
    holdout_seed: int = 0  # seed of the random choice of these images
    exif: bool = True  # rotate photographs by their EXIF orientation
    max_pixels: int = MAX_PIXELS  # largest number of pixels of an image that is read


@dataclasses.dataclass(frozen=True)
class Train:
    """`config.train`."""

    epochs: int = 100  # epochs at schedule 1; a run has epochs times schedule
    steps: int = 0  # stop after this many steps; 0: after the epochs
    least_steps: int = 0  # epochs are added until a run has this many steps; 0: none
    freeze: str = ""  # parameters not trained: `backbone`, or patterns: `stem.*,*.se.*`
    needs_weights: bool = False  # refuse to start without `init_from`
    log_every_steps: int = 50  # steps between lines of metrics.jsonl
    eval_every_epochs: int = 1  # epochs between evaluations
    shard_optimizer: bool = False  # shard momentum and average over devices


@dataclasses.dataclass(frozen=True)
class Optim:
    """`config.optim`: the optimiser and its learning rate."""

    name: str = "sgd"  # the optimiser
    learning_rate: float = 2.0  # rate at batch 1,024; scaled in proportion to the batch
    curve: str = "exp"  # the curve by which the rate falls
    curve_from: str = "start"  # where the curve begins: at the start of the run, or after warmup
    decay: float = 0.02  # share of the rate that is left at the end; for exp, cos and lin
    step_epochs: tuple[int, ...] = (30, 60, 90)  # when steps lowers the rate, at schedule 1
    step_factor: float = 0.1  # factor of the rate at each of step_epochs
    warmup_epochs: float = 5.0  # epochs in which the rate rises to its peak
    warmup_start: float = 0.1  # share of the rate at the start of warmup; it rises linearly to 1
    momentum: float = 0.9  # for sgd and rmsprop
    nesterov: bool = True  # for sgd: Nesterov's momentum
    beta1: float = 0.9  # for adamw, lamb and lion
    beta2: float = 0.0  # 0: 0.999 for adamw and lamb, 0.99 for lion, 0.9 for rmsprop
    eps: float = 0.0  # 0: 1e-8 for adamw, 1e-6 for lamb, 1e-3 for rmsprop
    weight_decay: float = 2e-5  # BatchNorm is exempt; with all but sgd, biases too
    head_rate: float = 1.0  # multiplies the classifier's rate
    layer_decay: float = 1.0  # multiplies the rate from block to block, towards the stem
    clip_norm: float = 0.0  # largest norm of the whole gradient, before weight decay; 0: no limit
    accumulate: int = 1  # parts of a batch, computed one after the other to save memory


@dataclasses.dataclass(frozen=True)
class Ema:
    """`config.ema`: the moving average of weights and statistics, which is also evaluated."""

    every_steps: int = 32  # steps between updates, from the start of each epoch; 0: no average
    rate: float = 1e-5  # rate of one image, for a one-epoch ImageNet run; see `train.ema`


@dataclasses.dataclass(frozen=True)
class Bn:
    """`config.bn`: BatchNorm."""

    precise_images: int = 8192  # images for statistics before an evaluation; 0: running statistics
    sync: bool = False  # statistics over all devices' images, not per device
    group_size: int = 0  # images per BatchNorm group; 0: the device's whole batch


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """`config.checkpoint`."""

    dir: str = ""  # their folder, local or gs://…; empty: the workdir's `checkpoints`
    every_epochs: int = 10  # epochs between checkpoints; 0: not by epochs
    every_steps: int = 0  # steps between checkpoints; 0: not by steps
    every_minutes: float = 0.0  # minutes between checkpoints; 0: not by the clock
    keep: int = 2  # number of latest checkpoints to keep, besides the best
    allow_changes: bool = False  # resume with a recipe that differs from the checkpoint's


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained: the config without `model` and `variant`."""

    data: Data = Data()
    train: Train = Train()
    optim: Optim = Optim()
    augment: Augment = dataclasses.field(default_factory=Augment)
    ema: Ema = Ema()
    bn: Bn = Bn()
    checkpoint: Checkpoint = Checkpoint()
    schedule: int = 1  # multiplies the epochs, as in the paper
    dtype: str = "float32"  # type of the computation; parameters and logits are float32
    grouped_conv: str = "auto"  # implementation of the spatial convs
    scan_blocks: bool = False  # compile equal blocks once and run them in a loop
    remat: str = "none"  # what the backward pass recomputes to save memory
    seed: int = 0  # seed of weights, order, augmentation and dropout
    init_from: str = ""  # initial weights; empty: random

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole run."""
        return self.train.epochs * self.schedule

    @property
    def peak_learning_rate(self) -> float:
        """The rate at the end of warmup, for this batch size."""
        return self.optim.learning_rate * self.data.batch_size / REFERENCE_BATCH_SIZE

    def of_programs(self) -> "Recipe":
        """Returns the recipe without seed, checkpoints and initial weights.

        They change no compiled program.
        """
        return dataclasses.replace(self, checkpoint=Checkpoint(), seed=0, init_from="")

    def long_enough(self, epoch_steps: int) -> "Recipe":
        """Returns the recipe with enough epochs for `train.least_steps`.

        If epochs are added, the epochs between evaluations and between checkpoints grow in
        proportion: their number stays the same.

        Args:
            epoch_steps: steps of an epoch.
        """
        epochs = math.ceil(self.train.least_steps / (epoch_steps * self.schedule))
        if epochs <= self.train.epochs:
            return self
        growth = epochs / self.train.epochs
        eval_every = round(self.train.eval_every_epochs * growth)
        save_every = round(self.checkpoint.every_epochs * growth)
        return dataclasses.replace(
            self,
            train=dataclasses.replace(self.train, epochs=epochs, eval_every_epochs=eval_every),
            checkpoint=dataclasses.replace(self.checkpoint, every_epochs=save_every),
        )

    @classmethod
    def from_config(cls, config: ConfigDict | Mapping[str, Any]) -> "Recipe":
        """Returns the recipe of a config; keys about the network are ignored.

        Raises:
            ValueError: a key is missing, unknown, of the wrong type or out of range.
        """
        values = {k: v for k, v in config.items() if k not in ("model", "variant", "stated")}
        recipe = _build(cls, values, "config")
        check_ranges(recipe)
        return recipe


def default_config() -> ConfigDict:
    """Returns the defaults as a config without `model`.

    `variant` is the name of the network in `model`, such as `regnetz:dWr_16gf`, for `fastscale
    info`. For an unnamed network it is empty, or any word without a colon.
    """
    return ConfigDict({"variant": "", **dataclasses.asdict(Recipe())})


def older_config() -> ConfigDict:
    """Returns the values of keys that a config recorded by an older version lacks.

    These are the defaults, except for keys whose default changes what a run does (`BEFORE`).
    """
    config = default_config()
    config.update_from_flattened_dict(BEFORE)
    return config


def _build(kind: Any, values: Mapping[str, Any], path: str) -> Any:
    """Returns the dataclass `kind` with a section's values, after checking them.

    cattrs and pydantic accept a missing key that has a default, and True for 1. Hooks that make
    cattrs refuse both are longer than this function. pydantic's strict mode refuses a mapping as a
    section.
    """
    if not isinstance(values, (Mapping, ConfigDict)):
        raise ValueError(f"{path} must be a section with keys; got {values!r}")
    types, values = typing.get_type_hints(kind), dict(values.items())
    if values.keys() != types.keys():
        missing, unknown = types.keys() - values.keys(), values.keys() - types.keys()
        raise ValueError(
            f"{path} must have the keys {', '.join(types)}"
            + (f"; missing: {', '.join(sorted(missing))}" if missing else "")
            + (f"; unknown: {', '.join(sorted(unknown))}" if unknown else "")
        )
    built = {}
    for key, expected in types.items():
        value = values[key]
        if dataclasses.is_dataclass(expected):
            built[key] = _build(expected, value, f"{path}.{key}")
            continue
        if expected is float and type(value) is int:
            value = float(value)
        if typing.get_origin(expected) is tuple:
            if type(value) is not tuple or any(type(item) is not int for item in value):
                raise ValueError(f"{path}.{key} must be a tuple of integers; got {value!r}")
        elif expected is str and type(value) is str:
            value = meant(value, _NAMES.get(f"{path}.{key}".removeprefix("config."), ()))
        elif type(value) is not expected:
            raise ValueError(f"{path}.{key} must be of type {expected.__name__}; got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{path}.{key} must be finite; got {value!r}")
        built[key] = value
    return kind(**built)
