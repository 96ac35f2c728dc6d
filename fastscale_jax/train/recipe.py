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

DTYPES = ("float32", "bfloat16")
SCHEDULES = (1, 2, 4)
# the batch size that the paper's learning rate is for; others are scaled in proportion
REFERENCE_BATCH_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class Data:
    """`config.data`."""

    name: str = "synthetic"  # a source: digits, synthetic
    batch_size: int = 1024  # images a step, over all devices


@dataclasses.dataclass(frozen=True)
class Train:
    """`config.train`."""

    epochs: int = 100  # at schedule 1
    steps: int = 0  # stop after this many; 0: as many as the epochs take
    log_every_steps: int = 50
    eval_every_epochs: int = 1


@dataclasses.dataclass(frozen=True)
class Optim:
    """`config.optim`: SGD with Nesterov momentum and an exponential schedule."""

    learning_rate: float = 2.0  # at batch 1,024; in proportion at others
    momentum: float = 0.9
    weight_decay: float = 2e-5  # BatchNorm is exempt
    warmup_epochs: float = 5.0
    warmup_start: float = 0.1  # share of the rate that warmup begins with
    decay: float = 0.02  # share of the rate that is left at the end


@dataclasses.dataclass(frozen=True)
class Augment:
    """`config.augment`."""

    label_smoothing: float = 0.1
    shift: float = 0.0  # largest random shift, as a share of the image's side
    zoom: float = 0.0  # largest random change of the image's size, as a share


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """`config.checkpoint`."""

    every_epochs: int = 10  # and at the end; 0: only at the end


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained: the config without `model` and `variant`."""

    data: Data = Data()
    train: Train = Train()
    optim: Optim = Optim()
    augment: Augment = Augment()
    checkpoint: Checkpoint = Checkpoint()
    schedule: int = 1  # times the epochs: 1, 2 or 4, as in the paper
    dtype: str = "float32"  # of the computation; parameters are always float32
    grouped_conv: str = "auto"  # implementation of the spatial convs; see models.grouped_conv
    seed: int = 0
    init_from: str = ""  # weights to begin with: a file or a folder; empty: random ones

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole run."""
        return self.train.epochs * self.schedule

    @property
    def peak_learning_rate(self) -> float:
        """The rate at the end of warmup, for this batch size."""
        return self.optim.learning_rate * self.data.batch_size / REFERENCE_BATCH_SIZE

    @classmethod
    def from_config(cls, config: ConfigDict | Mapping[str, Any]) -> "Recipe":
        """Returns the recipe of a config; its `model` and `variant` are left aside.

        Raises:
            ValueError: a key is missing, unknown, of the wrong type or out of range.
        """
        values = {k: v for k, v in config.items() if k not in ("model", "variant")}
        recipe = _build(cls, values, "config")
        _check_ranges(recipe)
        return recipe


def default_config() -> ConfigDict:
    """Returns the defaults as a config that lacks `model`.

    `variant` says, for `--mode=info`, which named network `model` is, as in `regnetz:dWr_16gf`;
    empty: none.
    """
    return ConfigDict({"variant": "", **dataclasses.asdict(Recipe())})


def _build(kind: Any, values: Mapping[str, Any], path: str) -> Any:
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
        if type(value) is not expected:
            raise ValueError(f"{path}.{key} must be of type {expected.__name__}; got {value!r}")
        if expected is float and not math.isfinite(value):
            raise ValueError(f"{path}.{key} must be finite; got {value!r}")
        built[key] = value
    return kind(**built)


def _check_ranges(r: Recipe) -> None:
    whole = {
        "data.batch_size": (r.data.batch_size, 1),
        "train.epochs": (r.train.epochs, 1),
        "train.steps": (r.train.steps, 0),
        "train.log_every_steps": (r.train.log_every_steps, 1),
        "train.eval_every_epochs": (r.train.eval_every_epochs, 1),
        "checkpoint.every_epochs": (r.checkpoint.every_epochs, 0),
        "seed": (r.seed, 0),
    }
    for key, (value, low) in whole.items():
        if value < low:
            raise ValueError(f"config.{key} must be at least {low}; got {value}")
    shares = {
        "optim.momentum": r.optim.momentum,
        "optim.warmup_start": r.optim.warmup_start,
        "augment.label_smoothing": r.augment.label_smoothing,
        "augment.shift": r.augment.shift,
        "augment.zoom": r.augment.zoom,
    }
    for key, value in shares.items():
        if not 0 <= value < 1:
            raise ValueError(f"config.{key} must be from 0 to below 1; got {value}")
    if not r.optim.learning_rate > 0 or not 0 < r.optim.decay <= 1:
        raise ValueError("config.optim.learning_rate must be above 0, and decay above 0, at most 1")
    if r.optim.weight_decay < 0 or r.optim.warmup_epochs < 0:
        raise ValueError("config.optim.weight_decay and warmup_epochs must not be negative")
    if r.seed >= 2**32:
        raise ValueError(f"config.seed must be below 2**32; got {r.seed}")
    _check_choice("schedule", r.schedule, SCHEDULES)
    _check_choice("dtype", r.dtype, DTYPES)


def _check_choice(key: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"config.{key} must be one of {', '.join(map(str, choices))}; got {value!r}"
        )
