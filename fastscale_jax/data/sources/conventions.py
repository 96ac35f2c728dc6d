"""The preprocessing and classes that a network is trained for: normalisation, cropping, names."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

INTERPOLATIONS = ("bilinear", "bicubic")
CROP_MODES = ("center", "squash")


class Conventions(NamedTuple):
    """The preprocessing that a network trained on a source expects."""

    mean: tuple[float, ...]  # of each channel, pixels in [0, 1]
    std: tuple[float, ...]
    # Evaluation resizes the short side to resolution/crop and crops the middle; 0: the whole image
    # is resized to a square, bilinearly, on the device.
    crop: float
    interpolation: str = "bilinear"  # of resizing in evaluation, with antialiasing
    crop_mode: str = "center"  # squash: both sides are resized to resolution/crop

    @property
    def cropping(self) -> dict[str, Any]:
        """The fields about cropping in evaluation, by name."""
        return {key: getattr(self, key) for key in ("crop", "interpolation", "crop_mode")}


# ImageNet's usual values. Synthetic images replace ImageNet in tests of speed; other photographs
# have similar statistics.
_IMAGENET = Conventions((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224 / 256)

# Default limit of an image file. Full-frame cameras have 61 million pixels. In RGB this is 200 MB.
MAX_PIXELS = 64 << 20
MOST_PIXELS = 178_956_970  # Pillow's own limit: 2 * PIL.Image.MAX_IMAGE_PIXELS

OWN = "own"  # images passed by a Python program

SOURCES = {
    "digits": Conventions((0.305,) * 3, (0.376,) * 3, 0.0),  # statistics of the training split
    "synthetic": _IMAGENET,
    "folder": _IMAGENET,
    "csv": _IMAGENET,
    "tfds": _IMAGENET,
    OWN: _IMAGENET,
}


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """What checkpoints and exports store about the images that a network was trained on.

    Attributes:
        name: the source, one of `SOURCES`.
        classes: names of the classes, in the order of labels.
        conventions: normalisation and cropping.
        exif: whether images are rotated by their EXIF orientation.
    """

    name: str
    classes: tuple[str, ...]
    conventions: Conventions
    exif: bool = True

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            **self.conventions._asdict(),
            "exif": self.exif,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "SourceInfo":
        """Returns the `SourceInfo` that `to_json` wrote.

        Raises:
            ValueError: a value is missing or of the wrong type; the message says which.
        """
        try:
            mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
            crop, classes = float(values["crop"]), tuple(map(str, values["classes"]))
            # older versions had only one of each
            interpolation = str(values.get("interpolation", INTERPOLATIONS[0]))
            crop_mode = str(values.get("crop_mode", CROP_MODES[0]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"its description of the images is damaged: {error!r}") from error
        conventions = checked(Conventions(mean, std, crop, interpolation, crop_mode))
        return cls(
            str(values.get("name", OWN)), classes, conventions, bool(values.get("exif", True))
        )


def checked(conventions: Conventions) -> Conventions:
    """Checks conventions, and returns them.

    Raises:
        ValueError: a value is invalid; the message says which.
    """
    for name in ("mean", "std"):
        values = getattr(conventions, name)
        if len(values) != 3 or not all(-10 < value < 10 for value in values):
            raise ValueError(f"{name} must be three numbers, of pixels from 0 to 1; got {values}")
    if min(conventions.std) <= 0:
        raise ValueError(f"std must be above 0; got {conventions.std}")
    if not 0 <= conventions.crop <= 1:
        raise ValueError(f"crop must be from 0 to 1; got {conventions.crop}")
    for name, choices in (("interpolation", INTERPOLATIONS), ("crop_mode", CROP_MODES)):
        if getattr(conventions, name) not in choices:
            value = getattr(conventions, name)
            raise ValueError(f"{name} is {value!r}; it can be {' or '.join(choices)}")
    return conventions


def first_difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Returns a text with the first difference of two lists of classes; empty: none.

    Args:
        ours: classes of the network.
        theirs: classes of the images.
    """
    if len(ours) != len(theirs):
        return f"the network has {len(ours):,} classes, these images {len(theirs):,}"
    for label, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one != other:
            return f"class {label} is {one!r} in the network and {other!r} in these images"
    return ""
