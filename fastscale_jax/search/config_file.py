"""Writes a config file for a network."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.train.recipe import Recipe
from fastscale_jax.utils.whole_file import replacing

_TEXT = '''"""{about}

    fastscale train {path} --workdir=runs/{name}
"""

from ml_collections import ConfigDict

from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    if variant:
        raise ValueError({complaint} + repr(variant))
    config = default_config()
    config.model = ConfigDict(
        {{
{model}
        }}
    )
{recipe}
    return config
'''


def write(path: pathlib.Path, network: Architecture, recipe: Recipe, about: str) -> None:
    """Writes a config file that trains a network.

    Args:
        path: path of the file; its folder is made if missing.
        network: network to train.
        recipe: training recipe.
        about: origin of the network, one or more lines.

    Raises:
        OSError: it cannot be written.
    """
    model = network.to_config().to_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _TEXT.format(
        about=about,
        path=path,
        name=network.name,
        complaint=_literal(f"{path.name} has no variants; got "),
        model="\n".join(
            f'            "{name}": {_literal(value)},' for name, value in model.items()
        ),
        recipe="\n".join(
            f"    config.{key} = {_literal(value)}" for key, value in _differences(recipe)
        ),
    )
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _literal(value: Any) -> str:
    """A value as Python source, with double quotes around strings."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _differences(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The recipe's values that differ from the defaults, by dotted key."""

    def walk(values: Mapping[str, Any], default: Mapping[str, Any], at: str) -> Iterator[Any]:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield from walk(value, default[key], f"{at}{key}.")
            elif value != default[key]:
                yield at + key, value

    return walk(dataclasses.asdict(recipe), dataclasses.asdict(Recipe()), "")
