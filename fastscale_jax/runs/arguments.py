"""Checks of what a Python user passes, before anything is computed."""

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from fastscale_jax.data.sources.source import Source


def override_items(overrides: Mapping[str, Any] | None) -> Iterable[tuple[str, Any]]:
    """Returns the keys and values of overrides; None: there are none.

    Raises:
        ValueError: they have no keys.
    """
    if overrides is None:
        return ()
    is_by_key = isinstance(overrides, Mapping | ConfigDict)
    if not is_by_key or not all(isinstance(key, str) for key in overrides):
        raise ValueError(
            'overrides must be values by key, as in {"train.epochs": 3}; got '
            f"{type(overrides).__name__} {overrides!r}"
        )
    return overrides.items()


def checked_seed(seed: object) -> int:
    """Returns a seed as a whole number.

    Raises:
        ValueError: it is none, or has more than 63 bits.
    """
    try:
        number = operator.index(seed)  # pyright: ignore[reportArgumentType]
    except TypeError:
        number = None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError(f"seed must be a whole number of at most 63 bits; got {seed!r}")
    return number


def check_source(source: object) -> None:
    """Refuses what is no source of images.

    Raises:
        ValueError: it is neither a `Source` nor None.
    """
    if source is not None and not isinstance(source, Source):
        raise ValueError(
            "source must be made by from_arrays, from_examples, from_csv or from_folder; got "
            f"{type(source).__name__}"
        )


def checked_variables(variables: object) -> Mapping[str, Any]:
    """Returns a network's variables if they have names.

    Raises:
        ValueError: they are something else, such as a path.
    """
    if not isinstance(variables, Mapping):
        raise ValueError(
            'variables must be {"params": …, "batch_stats": …}, as create_model returns; got '
            f"{type(variables).__name__}"
        )
    return variables
