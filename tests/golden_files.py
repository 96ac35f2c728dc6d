"""The golden files, and what their networks are called here."""

import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

_FOLDER = pathlib.Path(__file__).parent / "golden"

# golden names that are not `<family>-<base>`
_RENAMED = {
    "ResNeXt-50": ("resnet", "50-32x4d"),
    "ResNeXt-101": ("resnet", "101-32x4d"),
    "ResNeXt-152": ("resnet", "152-32x4d"),
    # the 4.0GF of "Designing Network Design Spaces"; the paper's own 4GF takes 240 pixels
    "RegNetY-4GF-224": ("regnety", "4.0gf"),
}
_SIZES = ("resolution", "stem_width", "depths", "widths", "group_widths", "head_width")


@functools.cache
def golden(name: str) -> Any:
    """Returns what `tests/golden/<name>.json` holds. It is shared: do not modify it."""
    return json.loads((_FOLDER / f"{name}.json").read_text())


def family_and_base(name: str) -> tuple[str, str]:
    """Returns the (family, base) that a golden name stands for: `RegNetX-4.0GF`, `ResNeXt-50`."""
    family, _, base = name.lower().partition("-")
    return _RENAMED.get(name, (family, base))


def golden_sizes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sizes that a golden row gives, as `config.model` has them.

    Rows of EfficientNets leave out the group widths: they are all 1.
    """
    sizes = {field: row[field] for field in _SIZES if field != "group_widths"}
    sizes["group_widths"] = row.get("group_widths", [1] * len(row["depths"]))
    return {k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()}


def config_sizes(config: ConfigDict) -> dict[str, Any]:
    """Returns the same sizes of a `config.model`."""
    return {field: config[field] for field in _SIZES}
