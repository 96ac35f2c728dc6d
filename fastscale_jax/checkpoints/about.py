"""A checkpoint's description: a JSON file beside its arrays, checked when it is read."""

from collections.abc import Mapping
from typing import Any

from fastscale_jax.checkpoints.stores import Folder
from fastscale_jax.utils.json_file import read_object

ABOUT = "about"  # the folder of the description in a checkpoint
# types of keys; checkpoints of older versions lack some keys
_KINDS = {
    "step": int,
    "config": dict,
    "source": dict,
    "course": dict,
    "metrics": list,
    "devices": int,
    "fingerprint": dict,
}


def read_about(folder: Folder) -> dict[str, Any]:
    """Returns the description of a checkpoint.

    Args:
        folder: folder of one step.

    Raises:
        ValueError: it is missing or cannot be read.
    """
    try:
        about = read_object(folder / ABOUT / "metadata")
        _check(about)
    except FileNotFoundError as error:
        raise ValueError(f"{ABOUT} cannot be read: it is not there") from error
    except ValueError as error:
        raise ValueError(f"{ABOUT} cannot be read: {error}") from error
    return about


def _check(about: Mapping[str, Any]) -> None:
    """Refuses JSON that is not of a run.

    Raises:
        ValueError: a value has another type; the message says which.
    """
    for key, kind in _KINDS.items():
        if key in about and not isinstance(about[key], kind):
            raise ValueError(f"its {key} is {about[key]!r:.60}")
    config = about.get("config", {})
    if config and not isinstance(config.get("model"), dict):
        raise ValueError("its config has no model")
    if not isinstance(config.get("data", {}), dict):
        raise ValueError(f"its config.data is {config['data']!r:.60}")
    course = about.get("course", {}).values()
    if not all(type(value) is int for value in course):
        raise ValueError(f"its course is {about['course']!r:.60}")
    rows = about.get("metrics", [])
    if not all(isinstance(row, list) and all(map(_is_number, row)) for row in rows):
        raise ValueError(f"its metrics are {rows!r:.60}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
