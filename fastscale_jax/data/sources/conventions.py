"""What each source's images are normalised by and how they are cropped."""

from typing import NamedTuple


class Conventions(NamedTuple):
    """What a network trained on a source expects of any image."""

    mean: tuple[float, ...]  # of each channel, pixels in [0, 1]
    std: tuple[float, ...]
    # Evaluation resizes the short side to resolution/crop and takes the middle; 0: the whole image
    # is resized to a square.
    crop: float


# ImageNet's, as everybody normalises by: synthetic images stand in for it, and other photographs
# are close enough
_IMAGENET = Conventions((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224 / 256)

SOURCES = {
    "digits": Conventions((0.305,) * 3, (0.376,) * 3, 0.0),  # over the training split
    "synthetic": _IMAGENET,
    "folder": _IMAGENET,
    "tfds": _IMAGENET,
}
