"""The table of the recipe's keys, from its dataclasses: defaults, choices, and their comments."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastscale_jax.train.ranges import CHOICES
from fastscale_jax.train.recipe import Recipe

# What a page says beyond the comment beside the field.
NOTES = {
    "data.name": "see [data.md](data.md)",
    "data.exif": "see [data.md](data.md#what-the-network-sees)",
    "data.max_pixels": "see [data.md](data.md#images-that-cannot-be-read)",
    "train.least_steps": (
        "the epochs between evaluations and checkpoints grow in proportion; "
        "see [fine-tuning.md](fine-tuning.md#the-recipe)"
    ),
    "train.freeze": "see [fine-tuning.md](fine-tuning.md#what-is-not-trained)",
    "train.shard_optimizer": "see [scale-out.md](scale-out.md)",
    "optim.name": "see [training.md](training.md#optimisers)",
    "optim.curve_from": (
        "`start` is the paper's: the rate has fallen when warmup ends, and a run that reaches less "
        "than 60 % of the full rate says so. `warmup` reaches the full rate; it must be shorter "
        "than the run"
    ),
    "optim.head_rate": "see [fine-tuning.md](fine-tuning.md#rates)",
    "optim.layer_decay": "see [fine-tuning.md](fine-tuning.md#rates)",
    "augment.policy": "see [augmentation.md](augmentation.md)",
    "ema.rate": "see [recipe.md](recipe.md#the-network-that-is-evaluated)",
    "checkpoint.every_epochs": (
        "of the three intervals, whichever comes first. A run is also saved at its end, and "
        "whenever the error is the lowest so far"
    ),
    "checkpoint.dir": "see [training.md](training.md#what-a-run-survives)",
    "grouped_conv": (
        "`auto`, `portable`, `native`, `lax`, `im2col`, `shift` (depthwise only), or three of "
        "them with commas; see [performance.md](performance.md)"
    ),
    "scan_blocks": "see [performance.md](performance.md#compile-time)",
    "remat": "see [performance.md](performance.md#less-memory-more-operations)",
    "init_from": (
        "a file, a folder, a name on the hub (`hf:…`) or `timm`; see [weights.md](weights.md)"
    ),
}


class Key(NamedTuple):
    """A key of the config."""

    name: str
    default: Any
    comment: str  # beside the field


def recipe_keys(kind: type = Recipe, prefix: str = "") -> Iterator[Key]:
    """Yields the keys of a dataclass of the recipe, with those of its sections."""
    comments = comments_of(kind)
    defaults = kind()
    for field in dataclasses.fields(kind):
        value = getattr(defaults, field.name)
        if dataclasses.is_dataclass(value):
            yield from recipe_keys(type(value), f"{prefix}{field.name}.")
        else:
            yield Key(f"{prefix}{field.name}", value, comments[field.name])


def comments_of(kind: type) -> dict[str, str]:
    """Returns the comment beside each field of a dataclass, empty where there is none."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    result = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            rest = lines[node.lineno - 1].encode()[node.end_col_offset :].decode()
            result[node.target.id] = rest.partition("#")[2].strip()
    return result


def recipe() -> str:
    """Returns the table of all keys but those of `config.model`."""
    rows = ["| key | default | or | meaning |", "|---|---|---|---|"]
    for key in recipe_keys():
        meaning = "; ".join(filter(None, (key.comment, NOTES.get(key.name, ""))))
        others = [_shown(x) for x in CHOICES.get(key.name, ()) if x != key.default]
        rows.append(f"| `{key.name}` | {_shown(key.default)} | {', '.join(others)} | {meaning} |")
    return "\n".join(rows)


def _shown(value: Any) -> str:
    if value == "":
        return "empty"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:,}"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text.replace('e-0', 'e-')}`"
