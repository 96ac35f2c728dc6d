"""What all modes share: what they were asked for, what they print, and what they return."""

import json
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastscale_jax.arch import Architecture
    from fastscale_jax.train.recipe import Recipe

Config = Any  # a ConfigDict: its keys are attributes that no type checker can know

OK, FAILURE, USAGE_ERROR = 0, 1, 2


class Options(NamedTuple):
    """The flags beside `--config` and `--mode`, as `--help` describes them."""

    workdir: pathlib.Path | None
    input: pathlib.Path | None
    output: pathlib.Path | None
    profile: pathlib.Path | None
    names: str
    counters: Sequence[str]
    noise: float
    memory_gb: float | None
    target: str | None
    part: str
    store: pathlib.Path | None  # of programs compiled for targets; None: nothing is kept
    as_json: bool


def checked(config: Config) -> tuple["Architecture", "Recipe"]:
    """Returns what the config describes.

    Raises:
        ValueError: it describes nothing that can be.
    """
    from fastscale_jax.arch import Architecture
    from fastscale_jax.data.sources.source import check_source
    from fastscale_jax.train.recipe import Recipe

    network, recipe = Architecture.from_config(config.model), Recipe.from_config(config)
    check_source(recipe.data.name, network.num_classes)
    return network, recipe


def out_of_memory(config: Config) -> int:
    """Says that a batch is too large for the memory here, and returns the status of that."""
    complain(
        f"a batch of {config.data.batch_size} images does not fit into the memory here; give a "
        "smaller --config.data.batch_size, or auto"
    )
    return FAILURE


def class_names_of(network: "Architecture", recipe: "Recipe") -> tuple[str, ...]:
    """Returns the names of the classes that a network tells apart."""
    from fastscale_jax.data.sources.source import class_names

    data = recipe.data
    return class_names(data.name, network.num_classes, directory=data.dir, tfds_name=data.tfds_name)


def complain(message: str) -> None:
    """Says a line on stderr."""
    print(f"fastscale_jax: {' '.join(message.split())}", file=sys.stderr)


def usage_error(message: str) -> int:
    """Says what was wrong, and returns the status of that."""
    complain(message)
    return USAGE_ERROR


def print_json(metrics: Mapping[str, float | str]) -> None:
    """Prints one JSON object on stdout; what is no number is null."""
    finite = {
        key: value if isinstance(value, str) or math.isfinite(value) else None
        for key, value in metrics.items()
    }
    print(json.dumps(finite, allow_nan=False))


def print_table(renderable: Any) -> None:
    """Prints a table on stdout."""
    from rich.console import Console

    console = Console()
    # a pipe has no width; without one, rich would fold the table at 80 columns
    Console(width=None if console.is_terminal else 160).print(renderable)
