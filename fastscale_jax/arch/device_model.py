"""What networks take on a device, predicted from their counts by a model that was fitted there."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastscale_jax.arch.complexity import Complexity

POOLED = ""  # the fit of all networks together
_BEYOND = 1.5  # a fit is trusted up to this factor outside the measured sizes
MEASURED = {"step_ms": "ms a step", "memory_bytes": "bytes of memory"}  # quantity: unit in messages


class Linear(NamedTuple):
    """A linear model of a step's cost; no coefficient is negative."""

    constant: float  # per step
    flops: float  # per flop of one image, and multiplied by the batch size
    params: float  # per parameter
    acts: float  # per activation of one image, and multiplied by the batch size
    typical_error: float  # median of the relative errors for strategies that were left out
    largest_error: float  # the largest of these errors

    def of(self, cost: Complexity, images: int) -> float:
        """Returns what a step of a network takes with a batch of `images`."""
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
        versions: of the software that was measured with.
        date: of the last measurement.
        step_ms: fits by the name of the base network, and `POOLED` for all networks.
        memory_bytes: likewise, of the most memory that a step holds; empty: not measured.
        smallest: the smallest flops, params and acts among the measured networks.
        largest: the largest ones.
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

    def __hash__(self) -> int:
        """Makes it a key: its mappings have no hash of their own."""
        return hash((self.name, self.device, self.framework, self.dtype, self.date))

    def fit_of(self, measured: str, base: str) -> Linear:
        """Returns the coefficients for networks scaled from a base.

        Args:
            measured: one of `MEASURED`.
            base: its name; a base that was not measured gets the fit of all networks.

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
        fields = dataclasses.asdict(self) | {
            measured: {base: fit._asdict() for base, fit in getattr(self, measured).items()}
            for measured in MEASURED
        }
        return json.dumps(fields, indent=1) + "\n"


# a model, or a function that returns it: it is called only for a budget of time or memory
Device = DeviceModel | Callable[[], DeviceModel]


def model_of(device: Device | None, kind: str) -> DeviceModel:
    """Returns the device model that a budget of time or memory needs.

    Args:
        device: a model, or a function that returns one.
        kind: of the budget, one of `MEASURED`.

    Raises:
        ValueError: `device` is None, or no device was fitted.
    """
    if device is None:
        raise ValueError(
            f"{kind} is of a device: hand in its model as device=, "
            "as fastscale_jax.measure.fitted.find() returns it"
        )
    return device() if callable(device) else device
