"""Valid values of a recipe's keys."""

import operator
from typing import Any

from fastscale_jax.arch.spelling import did_you_mean, nearest
from fastscale_jax.data.sources.conventions import MOST_PIXELS

_MOST = 2**31 - 1  # steps and images are counted in 32 bits on the device

# key: (smallest, largest) value; None: `_MOST`
_LIMITS = {
    "data.batch_size": (0, None),
    "data.max_pixels": (1, MOST_PIXELS),  # Pillow decodes no larger images
    "data.workers": (0, 1024),
    "train.epochs": (1, None),
    "train.steps": (0, None),
    "train.least_steps": (0, None),
    "train.log_every_steps": (1, None),
    "train.eval_every_epochs": (1, None),
    "optim.decay": (0, 1),
    "optim.step_factor": (0, 1),
    "optim.warmup_epochs": (0, None),
    "optim.weight_decay": (0, None),
    "optim.eps": (0, None),
    "optim.clip_norm": (0, None),
    "optim.accumulate": (1, None),
    "augment.randaugment_layers": (1, 15),
    "augment.randaugment_magnitude": (0, 1),
    "augment.lighting": (0, None),
    "augment.mixup": (0, None),
    "augment.cutmix": (0, None),
    "ema.every_steps": (0, None),
    "ema.rate": (0, 1),
    "bn.precise_images": (0, None),
    "bn.group_size": (0, None),
    "checkpoint.every_epochs": (0, None),
    "checkpoint.every_steps": (0, None),
    "checkpoint.every_minutes": (0, None),
    "checkpoint.keep": (1, None),
    "seed": (0, 2**32 - 1),
}
_FROM_0_TO_BELOW_1 = (
    "optim.momentum",
    "optim.beta1",
    "optim.beta2",
    "optim.warmup_start",
    "augment.label_smoothing",
    "augment.shift",
    "augment.zoom",
)
CHOICES = {
    "optim.name": ("sgd", "adamw", "rmsprop", "lamb", "lion"),
    "optim.curve_from": ("start", "warmup"),
    "optim.curve": ("exp", "cos", "lin", "steps"),
    "augment.policy": ("", "autoaugment", "randaugment"),
    "schedule": (1, 2, 4),
    "dtype": ("float32", "bfloat16", "float16"),
    "remat": ("none", "blocks", "stages"),
}
# optimisers that use each key; keys that all use are left out
_USED_BY = {
    "momentum": ("sgd", "rmsprop"),
    "nesterov": ("sgd",),
    "beta1": ("adamw", "lamb", "lion"),
    "beta2": ("adamw", "lamb", "lion", "rmsprop"),
    "eps": ("adamw", "lamb", "rmsprop"),
}


def check_ranges(recipe: Any) -> None:
    """Refuses a recipe with an invalid value.

    Args:
        recipe: has the fields of `train.recipe.Recipe`, with the right types.

    Raises:
        ValueError: a value is invalid; the message has the key, the valid values and the value.
    """
    for key, (low, high) in _LIMITS.items():
        value = operator.attrgetter(key)(recipe)
        high = _MOST if high is None else high
        if not value >= low:
            raise ValueError(f"config.{key} must be at least {low}; got {value}")
        if value > high:
            raise ValueError(f"config.{key} must be at most {high}; got {value}")
    for key in _FROM_0_TO_BELOW_1:
        value = operator.attrgetter(key)(recipe)
        if not 0 <= value < 1:
            raise ValueError(f"config.{key} must be from 0 to below 1; got {value}")
    for key, choices in CHOICES.items():
        value = operator.attrgetter(key)(recipe)
        if value not in choices:
            among = ", ".join(map(str, choices)).removeprefix(", ")
            empty = ", or empty" if "" in choices else ""
            question = did_you_mean(nearest(str(value), map(str, choices))).rstrip()
            raise ValueError(
                f"config.{key} must be one of {among}{empty}; got {value!r}"
                + (f"; {question}" if question else "")
            )
    _check_optim(recipe.optim, recipe.data.batch_size)
    _check_warmup(recipe)
    if recipe.bn.sync and recipe.bn.group_size:
        raise ValueError(
            "config.bn.sync computes statistics over all images, config.bn.group_size over "
            f"{recipe.bn.group_size} each; set only one of them"
        )


def _check_optim(optim: Any, batch_size: int) -> None:
    for key in ("learning_rate", "head_rate", "layer_decay"):
        if not getattr(optim, key) > 0:
            raise ValueError(f"config.optim.{key} must be above 0; got {getattr(optim, key)}")
    if optim.layer_decay > 1:
        raise ValueError(f"config.optim.layer_decay must be at most 1; got {optim.layer_decay}")
    _check_keys(optim)
    if optim.curve == "exp" and not optim.decay:
        raise ValueError("config.optim.decay must be above 0 if config.optim.curve is exp")
    steps = optim.step_epochs
    if list(steps) != sorted(set(steps)) or not all(1 <= step <= _MOST for step in steps):
        raise ValueError(f"config.optim.step_epochs must be increasing epochs, from 1; got {steps}")
    if batch_size % optim.accumulate:
        raise ValueError(
            "config.data.batch_size must be divisible by config.optim.accumulate; "
            f"got {batch_size} and {optim.accumulate}"
        )


def _check_keys(optim: Any) -> None:
    """Refuses values of keys that the optimiser does not use."""
    defaults = type(optim)()
    for key, users in _USED_BY.items():
        value, default = getattr(optim, key), getattr(defaults, key)
        if optim.name not in users and value != default:
            raise ValueError(
                f"config.optim.{key} is for {', '.join(users)}, not for config.optim.name = "
                f"{optim.name}; leave it at {default}"
            )


def _check_warmup(recipe: Any) -> None:
    """Refuses a warmup as long as the run, if the curve begins after warmup."""
    optim, epochs = recipe.optim, recipe.total_epochs
    if optim.curve_from == "warmup" and optim.warmup_epochs >= epochs:
        raise ValueError(
            f"config.optim.warmup_epochs = {optim.warmup_epochs:g} must be below the {epochs} "
            "epochs of the run if config.optim.curve_from is warmup; set fewer epochs of "
            "warmup, or more config.train.epochs"
        )
