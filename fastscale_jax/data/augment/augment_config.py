"""Config of the augmentation. Without JAX, so that reading a config is fast."""

import dataclasses
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Augment:
    """`config.augment`: random augmentation. 0, False and empty turn an operation off."""

    flip: bool = True  # mirror images, left and right, with probability 1/2
    policy: str = "autoaugment"  # policy of operations on colours and shape
    randaugment_layers: int = 2  # operations per image
    randaugment_magnitude: float = 0.5  # strength of each operation, from 0 to 1
    lighting: float = 0.1  # standard deviation of the shift along the principal axes of colours
    mixup: float = 0.2  # parameter of the Beta distribution of mixup; 0: none
    cutmix: float = 0.0  # the same for cutmix; with both, each batch gets one at random
    label_smoothing: float = 0.1  # ε; every class gets ε / number of classes
    shift: float = 0.0  # largest random shift, as a share of the image's side
    zoom: float = 0.0  # largest random change of the image's size, as a share

    @classmethod
    def none(cls, **changes: Any) -> Self:
        """Returns a config without augmentation, except `changes`."""
        nothing = {"flip": False, "policy": "", "lighting": 0.0, "mixup": 0.0}
        return cls(**{**nothing, "label_smoothing": 0.0, **changes})
