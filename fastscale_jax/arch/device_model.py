"""What networks take on a device, predicted from their counts by a model that was fitted there."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastscale_jax.arch.complexity import Complexity

POOLED = ""  # the fit of all networks together
_BEYOND = 1.5  # times as large as anything measured: so far a fit is believed
MEASURED = {"step_ms": "ms a step", "memory_bytes": "bytes of memory"}  # with what people say


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


# a model, or what returns the one that is meant: it is called where a budget is of a device
Device = DeviceModel | Callable[[], DeviceModel]


def given(device: Device | None, kind: str) -> DeviceModel:
    """Returns the model of a device that a budget is of.

    Args:
        device: as the caller handed it in.
        kind: of the budget, one of `MEASURED`.

    Raises:
        ValueError: none was handed in, or none was fitted.
    """
    if device is None:
        raise ValueError(
            f"{kind} is of a device: hand in its model as device=, "
            "as fastscale_jax.measure.fitted.find() returns it"
        )
    return device() if callable(device) else device
