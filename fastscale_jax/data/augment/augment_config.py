"""What may be done to images in training; without JAX, which reading a config does not need."""

import dataclasses
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Augment:
    """`config.augment`: the random part. What is 0, False or empty is left out."""

    flip: bool = True  # mirror every other image, left and right
    policy: str = "autoaugment"  # operations on colours and shape
    randaugment_layers: int = 2  # operations an image
    randaugment_magnitude: float = 0.5  # strength of each operation, from 0 to 1
    lighting: float = 0.1  # standard deviation of the shift along the colours' main axes
    mixup: float = 0.2  # parameter of the Beta distribution of mixup; 0: none
    cutmix: float = 0.0  # the same of cutmix; with both, each has every other batch
    label_smoothing: float = 0.1  # ε; every class gets ε over the number of classes
    shift: float = 0.0  # largest random shift, as a share of the image's side
    zoom: float = 0.0  # largest random change of the image's size, as a share

    @classmethod
    def none(cls, **changes: Any) -> Self:
        """Returns one that does nothing, but for `changes`."""
        nothing = {"flip": False, "policy": "", "lighting": 0.0, "mixup": 0.0}
        return cls(**{**nothing, "label_smoothing": 0.0, **changes})
