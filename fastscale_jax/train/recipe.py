"""The training recipe: every key of the config beside `model`, its default, and what it means.

The defaults are those of arXiv:2103.06877, section 6.1, for RegNets at the 1x schedule. Config
files start from them (`default_config`) and write down what differs. Only primary values are kept;
what follows from them, such as the number of steps, is derived in code.
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

# the batch size that the paper's learning rate is for; others are scaled in proportion
REFERENCE_BATCH_SIZE = 1024

# values that are names, which are taken without regard to case
_NAMES = CHOICES | {"data.name": tuple(SOURCES)}
# What a run did that an older version recorded without a key, where that is not the key's default.
BEFORE = {"data.exif": False, "data.max_pixels": MOST_PIXELS}


@dataclasses.dataclass(frozen=True)
class Data:
    """`config.data`."""

    name: str = "synthetic"  # a source: digits, synthetic, folder, csv, tfds
    dir: str = ""  # a folder of images, a CSV file, or what TFDS prepared; empty: TFDS's own place
    tfds_name: str = "imagenet2012"  # a set of TFDS's for image classification
    batch_size: int = 1024  # images a step, over all devices; 0, or auto: as many as fit
    workers: int = 0  # threads that decode, on each host; 0: one a core
    holdout: float = 0.1  # share of the images to evaluate on, where the data have no such split
    holdout_seed: int = 0  # of the random choice of these images
    exif: bool = True  # turn photographs upright as their EXIF data say
    max_pixels: int = MAX_PIXELS  # of an image file; larger ones cannot be read


@dataclasses.dataclass(frozen=True)
class Train:
    """`config.train`."""

    epochs: int = 100  # at schedule 1
    steps: int = 0  # stop after this many; 0: as many as the epochs take
    least_steps: int = 0  # epochs are added until they take so many; 0: none
    freeze: str = ""  # what is not trained: backbone, or patterns of names, as in stem.*,*.se.*
    needs_weights: bool = False  # refuse to begin without `init_from`
    log_every_steps: int = 50
    eval_every_epochs: int = 1
    shard_optimizer: bool = False  # momentum and average are shared out over the devices


@dataclasses.dataclass(frozen=True)
class Optim:
    """`config.optim`: the optimiser, and how its rate falls."""

    name: str = "sgd"  # or adamw, rmsprop, lamb, lion
    learning_rate: float = 2.0  # at batch 1,024; in proportion at others
    curve: str = "exp"  # of the rate: exp, cos, lin or steps
    curve_from: str = "start"  # where the curve begins: start (of the run), or (the end of) warmup
    decay: float = 0.02  # share of the rate that is left at the end; of exp, cos and lin
    step_epochs: tuple[int, ...] = (30, 60, 90)  # after which `steps` lowers it, at schedule 1
    step_factor: float = 0.1  # by which it does
    warmup_epochs: float = 5.0
    warmup_start: float = 0.1  # share of the rate that warmup begins with
    momentum: float = 0.9  # of sgd and rmsprop
    nesterov: bool = True  # of sgd
    beta1: float = 0.9  # of adamw, lamb and lion
    beta2: float = 0.0  # of these and rmsprop; 0: 0.999 (adamw, lamb), 0.99 (lion), 0.9 (rmsprop)
    eps: float = 0.0  # of adamw, lamb and rmsprop; 0: 1e-8 (adamw), 1e-6 (lamb), 1e-3 (rmsprop)
    weight_decay: float = 2e-5  # BatchNorm is exempt; with all but sgd, biases too
    head_rate: float = 1.0  # what the classifier's rate is multiplied by
    layer_decay: float = 1.0  # what the rate is multiplied by from block to block, towards the stem
    clip_norm: float = 0.0  # the largest norm of the whole gradient; 0: any
    accumulate: int = 1  # parts that a batch is computed in, one after the other, to save memory


@dataclasses.dataclass(frozen=True)
class Ema:
    """`config.ema`: the moving average of weights and statistics that is evaluated as well."""

    every_steps: int = 32  # counted from the start of each epoch; 0: no average
    rate: float = 1e-5  # of one image, for a one-epoch ImageNet run; see `train.ema`


@dataclasses.dataclass(frozen=True)
class Bn:
    """`config.bn`: BatchNorm."""

    precise_images: int = 8192  # that its statistics are taken from before an evaluation; 0: none
    sync: bool = False  # statistics of all devices' images, not of each one's
    group_size: int = 0  # images per BatchNorm group; 0: the device's whole batch


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """`config.checkpoint`."""

    dir: str = ""  # where they are kept, a folder or gs://…; empty: the workdir's `checkpoints`
    every_epochs: int = 10  # 0: not by epochs; at the end it is saved in any case
    every_steps: int = 0  # 0: not by steps
    every_minutes: float = 0.0  # 0: not by the clock
    keep: int = 2  # of the latest, beside the best
    allow_changes: bool = False  # go on with another recipe than the checkpoint's


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
    schedule: int = 1  # times the epochs: 1, 2 or 4, as in the paper
    dtype: str = "float32"  # of the computation; parameters are always float32
    grouped_conv: str = "auto"  # implementation of the spatial convs; see convs.grouped_conv
    scan_blocks: bool = False  # compile equal blocks once, and loop; see docs/performance.md
    remat: str = "none"  # or compute again in the backward pass: `blocks` or `stages`
    seed: int = 0
    init_from: str = ""  # weights to begin with, as `interop.files.read`; empty: random

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole run."""
        return self.train.epochs * self.schedule

    @property
    def peak_learning_rate(self) -> float:
        """The rate at the end of warmup, for this batch size."""
        return self.optim.learning_rate * self.data.batch_size / REFERENCE_BATCH_SIZE

    def long_enough(self, epoch_steps: int) -> "Recipe":
        """Returns the recipe with as many epochs as `train.least_steps` takes.

        Where epochs are added, the epochs between evaluations and between checkpoints grow in
        proportion: there are as many of them.

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
        """Returns the recipe of a config; what it says of the network is left aside.

        Raises:
            ValueError: a key is missing, unknown, of the wrong type or out of range.
        """
        values = {k: v for k, v in config.items() if k not in ("model", "variant", "stated")}
        recipe = _build(cls, values, "config")
        check_ranges(recipe)
        return recipe


def default_config() -> ConfigDict:
    """Returns the defaults as a config that lacks `model`.

    `variant` says, for `fastscale info`, which named network `model` is, as in `regnetz:dWr_16gf`;
    empty, or a word of one's own without a colon: none.
    """
    return ConfigDict({"variant": "", **dataclasses.asdict(Recipe())})


def older_config() -> ConfigDict:
    """Returns what keys mean that a recorded config lacks, because an older version wrote it.

    They are the defaults of keys, except for those that changed what a run does (`BEFORE`).
    """
    config = default_config()
    config.update_from_flattened_dict(BEFORE)
    return config


def _build(kind: Any, values: Mapping[str, Any], path: str) -> Any:
    """Returns a dataclass of a section's values.

    cattrs and pydantic let a key with a default be missing, and take True for 1. Hooks that make
    cattrs refuse both are longer than this. pydantic's strict mode takes no mapping for a section.
    """
    if not isinstance(values, (Mapping, ConfigDict)):
        raise ValueError(f"{path} must be a section with keys of its own; got {values!r}")
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
