"""Reads the `config.json` beside weights, which describes their network and their images.

timm writes this file, and all weights of timm on the Hugging Face hub have it. It has the keys
`architecture` and `pretrained_cfg`; older files have the keys of `pretrained_cfg` at the top level.
"""

import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastscale_jax.data.sources.conventions import CROP_MODES, INTERPOLATIONS, Conventions, checked
from fastscale_jax.interop.counterparts import COUNTERPARTS, Counterpart
from fastscale_jax.interop.description_keys import class_names, not_followed
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.utils.json_file import read_json

NAME = "config.json"
_CROP, _LARGEST = 0.875, 4096  # timm's default; no image is larger
_POOLINGS = ("avg", "fast", "fastavg")  # timm's names of the mean over all pixels
# a config.json that has none of these is another program's, or a run's of our own
_OF_A_NETWORK = {"architecture", "pretrained_cfg", "id2label", "label2id", "label_names"}


class Beside(NamedTuple):
    """Checked values of a `config.json`; values that the file lacks are None or empty."""

    architecture: str = ""  # timm's name of the network
    num_classes: int | None = None
    labels: tuple[str, ...] = ()  # names of the classes, in the order of their labels
    channels: int = 3
    resolution: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    crop_mode: str | None = None
    licence: str = ""
    num_features: int | None = None  # what the classifier takes
    not_followed: tuple[str, ...] = ()  # other keys that say something, for people

    @property
    def counterpart(self) -> Counterpart | None:
        """Our network that equals the named one; None: there is none, or the file names none."""
        base = base_name(self.architecture)
        return next((c for c in COUNTERPARTS if c.package == "timm" and c.name == base), None)

    def conventions(self, usual: Conventions, resolution: int) -> Conventions:
        """Returns the preparation of the images.

        Args:
            usual: the values for what the file does not state.
            resolution: the network's, pixels.
        """
        said = {key: getattr(self, key) for key in ("mean", "std", "interpolation", "crop_mode")}
        crop_pct = self.crop_pct
        if crop_pct is None and (self.interpolation or self.crop_mode) and not usual.crop:
            crop_pct = _CROP
        if crop_pct is not None:
            # the resized side as timm rounds it, down
            said["crop"] = resolution / math.floor(resolution / crop_pct)
        return usual._replace(**{key: value for key, value in said.items() if value is not None})

    def words(self, *, names_classes: bool) -> Iterator[str]:
        """Yields texts for users, one for each stated value about images and classes.

        Args:
            names_classes: whether the names of the classes are followed too.
        """
        if self.mean is not None and self.std is not None:
            yield f"mean {self.mean}"
            yield f"std {self.std}"
        if self.crop_pct is not None:
            yield f"crop {self.crop_pct:g}"
        yield from (x for x in (self.interpolation, self.crop_mode) if x is not None)
        if names_classes:
            yield f"the names of {len(self.labels):,} classes"


def beside_of(about: Mapping[str, Any]) -> Beside:
    """Returns the checked `config.json` of weights; without one, at most the network's name.

    Args:
        about: as in `files.Stored`.
    """
    names = about.get("names", ())
    return about.get("beside") or Beside(str(names[0]) if names else "")


def base_name(name: str) -> str:
    """Returns timm's name of a network without the tag of how it was trained.

    Args:
        name: with a tag, as in `tf_efficientnet_b0.ns_jft_in1k`; as older versions wrote it,
            `tf_efficientnet_b0_ns`; or without one.
    """
    base = name.partition(".")[0]
    for tag in ("_ap", "_ns"):
        base = base.removesuffix(tag)
    return base


def read_beside(file: pathlib.Path) -> dict[str, Any]:
    """Returns the facts in the `config.json` beside a file of weights, for `files.Stored.about`.

    Args:
        file: the file of weights, which is not read.

    Returns:
        The keys `beside`, `names` and `model_args`; empty if there is no `config.json`, or it is
        another program's.

    Raises:
        WeightsError: it is damaged, or images cannot be prepared with one of timm's values.
    """
    path = file.parent / NAME
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    if not isinstance(content, dict) or not _OF_A_NETWORK & content.keys():
        return {"model_args": content["model_args"]} if _is_changed(content) else {}
    about: dict[str, Any] = {}
    if "architecture" in content:
        about["names"] = [content["architecture"]]
    if _is_changed(content):
        about["model_args"] = content["model_args"]
    settings = content.get("pretrained_cfg", content)
    try:
        if not isinstance(settings, Mapping):
            raise ValueError(f"pretrained_cfg is {settings!r}, not an object")
        about["beside"] = _checked(content, settings)
    except (OverflowError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error
    return about


def _is_changed(content: Any) -> bool:
    return isinstance(content, dict) and bool(content.get("model_args"))


def _checked(content: Mapping[str, Any], settings: Mapping[str, Any]) -> Beside:
    for key in ("input_size", "mean", "std", "crop_pct", "interpolation", "crop_mode"):
        if key in content and content[key] != settings.get(key):
            raise ValueError(f"{key} is {content[key]}, and in pretrained_cfg {settings.get(key)}")
    size = settings.get("input_size")
    channels, resolution = (3, None) if size is None else _input_size(size)
    said = {key: settings.get(key) for key in ("mean", "std", "interpolation", "crop_mode")}
    crop_pct = settings.get("crop_pct")
    pooling = content.get("global_pool", settings.get("global_pool"))
    if pooling not in (None, *_POOLINGS):
        raise ValueError(f"global_pool is {pooling!r}; networks here pool by averages")
    found = Beside(
        architecture=str(content.get("architecture", "")),
        num_classes=_count(_classes(content, settings)),
        num_features=_count(content.get("num_features"), "num_features"),
        labels=class_names(content, settings),
        not_followed=not_followed(content, settings),
        channels=channels,
        resolution=resolution,
        mean=_numbers("mean", said["mean"]),
        std=_numbers("std", said["std"]),
        crop_pct=None if crop_pct is None else _share(crop_pct),
        interpolation=_choice("interpolation", said["interpolation"], INTERPOLATIONS),
        crop_mode=_choice("crop_mode", said["crop_mode"], CROP_MODES),
        licence=str(settings.get("license") or content.get("license") or ""),
    )
    if (found.mean is None) != (found.std is None):
        raise ValueError("mean and std must be given both, or neither")
    if found.labels and found.num_classes not in (None, len(found.labels)):
        raise ValueError(
            f"{len(found.labels)} names of classes for num_classes {found.num_classes}"
        )
    if found.mean is not None and found.std is not None:
        checked(Conventions(found.mean, found.std, _CROP))
    return found


def _input_size(size: Any) -> tuple[int, int]:
    if not (isinstance(size, list) and len(size) == 3 and all(type(n) is int for n in size)):
        raise ValueError(f"input_size must be [channels, height, width]; got {size!r}")
    channels, height, width = size
    if height != width:
        raise ValueError(f"input_size is {size}; only square images are taken here")
    if not (0 < height <= _LARGEST and channels > 0):
        raise ValueError(f"input_size must be of 1 to {_LARGEST:,} pixels; got {size}")
    return channels, height


def _numbers(key: str, values: Any) -> tuple[float, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(_is_number(x) for x in values):
        raise ValueError(f"{key} must be a list of three numbers; got {values!r}")
    return tuple(map(float, values))


def _share(value: Any) -> float:
    if not _is_number(value) or not 0 < value <= 1:
        raise ValueError(f"crop_pct must be above 0 and at most 1; got {value!r}")
    return float(value)


def _classes(content: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    """What is said of the number of classes; what pretrained_cfg has may be of other weights."""
    said = [content[key] for key in ("num_classes", "num_labels") if content.get(key) is not None]
    if len({*map(str, said)}) > 1:
        raise ValueError(f"num_classes is {said[0]}, and num_labels {said[1]}")
    return said[0] if said else settings.get("num_classes")


def _count(value: Any, key: str = "num_classes") -> int | None:
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"{key} must be a whole number; got {value!r}")
    return value


def _choice(key: str, value: Any, choices: tuple[str, ...]) -> str | None:
    if value is not None and value not in choices:
        raise ValueError(f"{key} is {value!r}; here it can be {' or '.join(choices)}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
