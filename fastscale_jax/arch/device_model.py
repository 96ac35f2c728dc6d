"""What networks take on a device, predicted from their counts by a model that was fitted there."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastscale_jax.arch.complexity import Complexity

CHOICE = "FASTSCALE_DEVICE"  # in the environment: which model, by its file or its name
POOLED = ""  # the fit of all networks together
_BEYOND = 1.5  # times as large as anything measured: so far a fit is believed
MEASURED = {"step_ms": "ms a step", "memory_bytes": "bytes of memory"}  # with what people say
_FIT_COMMAND = "python -m fastscale_jax.measure.fit"


class Linear(NamedTuple):
    """Coefficients, none below zero: of a step, of each flop, parameter and activation of it."""

    constant: float
    flops: float  # of one image; a batch has as many times more
    params: float
    acts: float  # of one image, likewise
    typical_error: float  # median of the relative errors for strategies that were left out
    largest_error: float  # of them

    def of(self, cost: Complexity, images: int) -> float:
        """Returns what a network takes with so many images."""
        a_batch = self.flops * cost.flops + self.acts * cost.acts
        return self.constant + images * a_batch + self.params * cost.params


@dataclasses.dataclass(frozen=True)
class DeviceModel:
    """What a training step takes on one device, as `measure.fit` found and saved it.

    Attributes:
        name: of the file, without its ending.
        device: as JAX calls it; of a CPU, its processor.
        framework: `jax`, or another one that was measured.
        dtype: of the computation.
        batch_size: images of the steps that were measured.
        versions: of what was measured with.
        date: of the last measurement.
        step_ms: by the name of the base network, and `POOLED`.
        memory_bytes: likewise, the most that a step holds; empty: not measured.
        smallest: of what was measured, by each count.
        largest: likewise.
    """

    name: str
    device: str
    framework: str
    dtype: str
    batch_size: int
    versions: str
    date: str
    step_ms: Mapping[str, Linear]
    memory_bytes: Mapping[str, Linear]
    smallest: Complexity
    largest: Complexity

    def fit_of(self, measured: str, base: str) -> Linear:
        """Returns the coefficients for networks scaled from a base.

        Args:
            measured: one of `MEASURED`.
            base: its name; one that was not measured gets what fits all.

        Raises:
            ValueError: nothing of the kind was measured on this device.
        """
        fits = getattr(self, measured)
        if not fits:
            raise ValueError(f"{measured} was not measured on {self.device}; see {self.name}.json")
        return fits.get(base, fits[POOLED])

    def predict(self, measured: str, base: str, cost: Complexity) -> float:
        """Returns what a step takes: `step_ms` or `memory_bytes`, for `batch_size` images."""
        return self.fit_of(measured, base).of(cost, self.batch_size)

    def covers(self, cost: Complexity) -> bool:
        """Whether a network is about as large as those that were measured."""
        return all(
            low / _BEYOND <= amount <= high * _BEYOND
            for low, amount, high in zip(self.smallest, cost, self.largest, strict=True)
        )

    def as_json(self) -> str:
        """Returns the text of the model's file."""
        found = dataclasses.asdict(self) | {
            measured: {base: fit._asdict() for base, fit in getattr(self, measured).items()}
            for measured in MEASURED
        }
        return json.dumps(found, indent=1) + "\n"


def folder() -> pathlib.Path:
    """Returns where models are saved: `$XDG_DATA_HOME` or `~/.local/share`, and our name."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return pathlib.Path(base).expanduser() / "fastscale_jax" / "devices"


def load(path: pathlib.Path) -> DeviceModel:
    """Returns the model in a file.

    Raises:
        ValueError: there is none.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
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
        path = pathlib.Path(choice).expanduser()
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
            "some networks by python -m fastscale_jax.measure.curves, then fit them by "
            f"{_FIT_COMMAND}"
        )
    of_jax = [model for model in saved().values() if model.framework == "jax"]
    if len(of_jax) != 1:
        raise ValueError(
            f"{len(of_jax)} devices were fitted for JAX; set {CHOICE} to one of {names}"
        )
    return of_jax[0]
