"""The models of devices that were fitted and saved: where they lie, and which one is meant."""

import os
import pathlib
from typing import Any

from fastscale_jax.arch.complexity import Complexity
from fastscale_jax.arch.device_model import MEASURED, POOLED, DeviceModel, Linear
from fastscale_jax.utils.json_file import read_object
from fastscale_jax.utils.paths import at_home

CHOICE = "FASTSCALE_DEVICE"  # in the environment: which model, by its file or its name
_FIT_COMMAND = "fastscale fit"


def folder() -> pathlib.Path:
    """Returns where models are saved: `$XDG_DATA_HOME` or `~/.local/share`, and our name."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return at_home(base) / "fastscale_jax" / "devices"


def load(path: pathlib.Path) -> DeviceModel:
    """Returns the model in a file.

    Raises:
        ValueError: there is none.
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
        raise ValueError(f"{path} is no model of a device; make one by {_FIT_COMMAND}") from error


def saved() -> dict[str, DeviceModel]:
    """Returns all saved models by their names, or the one that is asked for.

    Raises:
        ValueError: that one is not there, or one is damaged.
    """
    if os.environ.get(CHOICE):
        chosen = find()
        return {chosen.name: chosen}
    return {path.stem: load(path) for path in sorted(folder().glob("*.json"))}


def find(choice: str = "") -> DeviceModel:
    """Returns the model that was chosen, or the only one that is saved.

    Args:
        choice: a file, or the name of a saved one; empty: `$FASTSCALE_DEVICE`.

    Raises:
        ValueError: there is none, or there are several; says which, and how to get one.
    """
    choice = choice or os.environ.get(CHOICE, "")
    names = ", ".join(sorted(path.stem for path in folder().glob("*.json")))
    if choice:
        path = at_home(choice)
        named = folder() / f"{choice}.json"
        if not path.is_file() and not named.is_file():
            raise ValueError(
                f"{CHOICE}={choice} is neither a file nor a device that was fitted"
                + (f"; those are {names}" if names else f"; fit one by {_FIT_COMMAND}")
            )
        return load(path if path.is_file() else named)
    if not names:
        raise ValueError(
            "no device was fitted yet, so that nothing is known of its times and memory; measure "
            "some networks by fastscale curves, then fit them by "
            f"{_FIT_COMMAND}"
        )
    of_jax = [model for model in saved().values() if model.framework == "jax"]
    if len(of_jax) != 1:
        raise ValueError(
            f"{len(of_jax)} devices were fitted for JAX; set {CHOICE} to one of {names}"
        )
    return of_jax[0]
