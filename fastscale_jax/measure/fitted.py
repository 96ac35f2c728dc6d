"""Finds and loads the saved device models."""

import os
import pathlib
from typing import Any

from fastscale_jax.arch.complexity import Complexity
from fastscale_jax.arch.device_model import MEASURED, POOLED, DeviceModel, Linear
from fastscale_jax.utils.json_file import read_object
from fastscale_jax.utils.paths import at_home

CHOICE = "FASTSCALE_DEVICE"  # environment variable: a model's file or name
_FIT_COMMAND = "fastscale fit"


def folder() -> pathlib.Path:
    """Returns the folder of saved models, in `$XDG_DATA_HOME` or `~/.local/share`."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return at_home(base) / "fastscale_jax" / "devices"


def load(path: pathlib.Path) -> DeviceModel:
    """Returns the model in a file.

    Raises:
        ValueError: the file cannot be read, or has no model.
    """
    try:
        content: dict[str, Any] = read_object(path)
        for end in ("smallest", "largest"):
            content[end] = Complexity(*content[end])
        for measured in MEASURED:
            content[measured] = {k: Linear(**v) for k, v in content[measured].items()}
            if content[measured]:
                content[measured][POOLED]
        return DeviceModel(**content)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no device model; make one by {_FIT_COMMAND}") from error


def saved() -> dict[str, DeviceModel]:
    """Returns all saved models by name; with `FASTSCALE_DEVICE` set, only that one.

    Raises:
        ValueError: that model does not exist, or a file is damaged.
    """
    if os.environ.get(CHOICE):
        chosen = find()
        return {chosen.name: chosen}
    return {path.stem: load(path) for path in sorted(folder().glob("*.json"))}


def find(choice: str = "") -> DeviceModel:
    """Returns the chosen model, or the only saved one.

    Args:
        choice: a file, or a saved model's name; empty: `$FASTSCALE_DEVICE`.

    Raises:
        ValueError: no model, or several without a choice; the message lists them.
    """
    choice = choice or os.environ.get(CHOICE, "")
    names = ", ".join(sorted(path.stem for path in folder().glob("*.json")))
    if choice:
        path = at_home(choice)
        named = folder() / f"{choice}.json"
        if not path.is_file() and not named.is_file():
            raise ValueError(
                f"{CHOICE}={choice} is neither a file nor a fitted device"
                + (f"; those are {names}" if names else f"; fit one by {_FIT_COMMAND}")
            )
        return load(path if path.is_file() else named)
    if not names:
        raise ValueError(
            "times and memory of this device are unknown, because no device was fitted yet; "
            f"measure networks by fastscale curves, then run {_FIT_COMMAND}"
        )
    of_jax = [model for model in saved().values() if model.framework == "jax"]
    if len(of_jax) != 1:
        raise ValueError(
            f"{len(of_jax)} devices were fitted for JAX; set {CHOICE} to one of {names}"
        )
    return of_jax[0]
