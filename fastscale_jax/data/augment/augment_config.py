"""What may be done to images in training; without JAX, which reading a config does not need."""

import dataclasses
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Augment:
    """`config.augment`: the random part. What is 0, False or empty is left out."""

    flip: bool = True  # left and right, every other image
    policy: str = "autoaugment"  # or randaugment
    randaugment_layers: int = 2  # operations an image
    randaugment_magnitude: float = 0.5  # of each, from 0 to 1
    lighting: float = 0.1  # standard deviation of the shift along the colours' main axes
    mixup: float = 0.2  # of its Beta distribution
    cutmix: float = 0.0  # likewise; with both, each has every other batch
    label_smoothing: float = 0.1
    shift: float = 0.0  # largest random shift, as a share of the image's side
    zoom: float = 0.0  # largest random change of the image's size, as a share

    @classmethod
    def none(cls, **changes: Any) -> Self:
        """Returns one that does nothing, but for `changes`."""
        nothing = {"flip": False, "policy": "", "lighting": 0.0, "mixup": 0.0}
        return cls(**{**nothing, "label_smoothing": 0.0, **changes})
