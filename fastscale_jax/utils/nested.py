"""Values of nested mappings by dotted keys."""

from collections.abc import Mapping
from typing import Any


def as_flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of a config by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= as_flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
