"""Checks what a file of weights says about its network against ours.

Names and shapes of tensors do not show everything that a network computes. A file, its name or a
description beside it may tell more, which must agree with our network.
"""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.architecture import LATER_FIELDS
from fastscale_jax.interop.beside import base_name, beside_of
from fastscale_jax.interop.counterparts import COUNTERPARTS, OF_PYTORCH, OF_TENSORFLOW
from fastscale_jax.interop.weights import WeightsError

# Beginnings of timm's names of networks whose tensors look like ours, and how these differ.
LOOKALIKES = {
    "efficientnet_blur": "blurs before it strides",
    "resnetblur18": "blurs before it strides",
    "resnetblur50": "blurs before it strides",
    "resnetaa50": "averages where it strides",
}
_OF_TORCHVISION = {"padding": "symmetric", "bn_eps": 1e-3}  # its larger EfficientNets
# Downloaded EfficientNets and MobileNets: the beginning of the file's name, the library, and the
# padding and epsilon. The first match counts.
_CONVENTIONS = (
    ("tf_efficientnet_", "timm", OF_TENSORFLOW),
    ("tf_efficientnetv2_", "timm", OF_TENSORFLOW),
    *(
        (f"efficientnet_{kind}", "torchvision", _OF_TORCHVISION)
        for kind in ("b5_lukemelas", "b6_lukemelas", "b7_lukemelas", "v2_")
    ),
    ("efficientnet_", "timm", OF_PYTORCH),
    ("efficientnetv2_", "timm", OF_PYTORCH),
    ("mobilenetv2_", "timm", OF_PYTORCH),
)
# what two networks whose tensors are alike may differ in
_UNSEEN = (
    *("stages", "activation", "padding", "bn_eps", "se_of", "se_activation"),
    *("final_activation", "pooled_skips"),
)
# pycls's names of activations that differ from ours
_PYCLS_ACTIVATIONS = {"swish": "silu"}
_PYCLS_PADDING = "symmetric"  # of all of its networks
PYCLS_EPS = 1e-5  # where a config says none
_NOT_PYCLS = (yaml.YAMLError, AttributeError, TypeError, ValueError)
_PYCLS_STEMS = {"simple_stem_in": "conv3x3", "res_stem_in": "conv7x7_pool"}


def check_claims(a: Architecture, about: Mapping[str, Any]) -> None:
    """Refuses a file that describes another network than ours.

    Args:
        a: our network.
        about: what the file says: `model`, our own fields; `cfg`, the text of pycls's config;
            `names`, timm's names of the network; `model_args`, changes that timm was asked for;
            `beside`, what a config.json says besides.

    Raises:
        WeightsError: it is another network, or the description makes no sense.
    """
    for what, theirs, ours in (
        *own_fields(a, about.get("model", {})),
        *(_pycls_settings(a, about["cfg"]) if "cfg" in about else ()),
    ):
        if theirs != ours:
            raise WeightsError(
                f"these weights are for a network whose {what} is {theirs}; {a.name}'s is {ours}"
            )
    for name in about.get("names", ()):
        _check_name(a, str(name))
    channels = beside_of(about).channels
    if channels != getattr(a, "in_channels", 3):
        raise WeightsError(
            f"its config.json says that images have {channels} channels; {a.name} takes "
            f"{getattr(a, 'in_channels', 3)}"
        )
    features = beside_of(about).num_features
    if features not in (None, a.vector_width):
        raise WeightsError(
            f"its config.json says that num_features is {features}; {a.name}'s classifier takes "
            f"{a.vector_width}"
        )
    if about.get("model_args"):
        raise WeightsError(
            f"its config.json changes timm's network by {about['model_args']}; only networks as "
            "timm makes them are known"
        )


def check_file_name(a: Architecture, path: pathlib.Path) -> None:
    """Refuses weights of timm's networks that have our tensors but compute something else.

    Args:
        a: our network.
        path: path of the file.

    Raises:
        WeightsError: the file, or its folder in a download cache, is named after such a network.
    """
    for name in _names(path):
        _refuse_lookalike(name, "by its name these are weights of")
        beginning, library, theirs = _convention(name)
        # another epsilon of torchvision's goes into the running variances
        if library == "timm" and a.block == "mbconv" and not _agrees(a, theirs):
            flags = " ".join(f"--config.model.{key}={x}" for key, x in theirs.items())
            raise WeightsError(
                f"by its name these are weights of timm's {beginning}…, which are for {flags}; "
                f"{a.name} has {a.padding} and {a.bn_eps}. Give these flags, or rename the "
                "file if it is none of timm's"
            )


def file_conventions(path: pathlib.Path) -> Mapping[str, object]:
    """Returns the padding and the epsilon that follow from the name of a downloaded file.

    Args:
        path: path of the file. The result is empty if the name is not that of an EfficientNet or a
            MobileNetV2 from timm or torchvision.
    """
    return next((theirs for name in _names(path) if (theirs := _convention(name)[2])), {})


def _convention(name: str) -> tuple[str, str, Mapping[str, object]]:
    return next((x for x in _CONVENTIONS if name.startswith(x[0])), ("", "", {}))


def _names(path: pathlib.Path) -> list[str]:
    """The name of a file, and that of its repository in a cache of downloads."""
    cached = [part for part in path.absolute().parts if part.startswith("models--")]
    return [path.name, *(folder.rpartition("--")[2] for folder in cached)]


def _agrees(a: Architecture, conventions: Mapping[str, object]) -> bool:
    return all(getattr(a, key) == value for key, value in conventions.items())


def _check_name(a: Architecture, name: str) -> None:
    base = base_name(name)
    known = [c for c in COUNTERPARTS if c.package == "timm" and c.name == base]
    if not known:
        _refuse_lookalike(name, "it says that these are weights of")
        raise WeightsError(
            f"it says that these are weights of timm's {name}, which is none of our networks; "
            "docs/weights.md lists those that are"
        )
    theirs = known[0].architecture()
    if any(getattr(theirs, field) != getattr(a, field) for field in _UNSEEN):
        raise WeightsError(f"it says that these are weights of {known[0].description}")


def _refuse_lookalike(name: str, claim: str) -> None:
    for beginning, difference in LOOKALIKES.items():
        if name.startswith(beginning):
            raise WeightsError(
                f"{claim} timm's {beginning}…, which {difference}; none of our networks does"
            )


def own_fields(a: Architecture, model: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yields (field, theirs, ours) for the fields of a recorded network that no tensor shows.

    Args:
        a: our network.
        model: the recorded `config.model`, maybe of an older version; empty: nothing is recorded.
    """
    ours = a.to_config().to_dict()
    if model:
        model = {**LATER_FIELDS, **model}
    for field in ("block", "stem", "activation", "strides", *LATER_FIELDS):
        if field in model:
            theirs = model[field]
            yield field, tuple(theirs) if isinstance(theirs, list) else theirs, ours[field]


def _pycls_settings(a: Architecture, cfg: str) -> Iterator[tuple[str, Any, Any]]:
    """Yields (key, theirs, ours) for what a pycls checkpoint's config says about the network.

    A config has every key that its pycls knew, also those of other kinds of networks.
    """
    strides = [stage.stride for stage in a.stages]
    try:
        settings = yaml.safe_load(cfg) or {}
        yield "padding", _PYCLS_PADDING, a.padding
        yield "BN.EPS", float(_setting(settings, "BN.EPS", PYCLS_EPS)), a.bn_eps
        activation = str(_setting(settings, "MODEL.ACTIVATION_FUN", a.activation)).lower()
        yield "MODEL.ACTIVATION_FUN", _PYCLS_ACTIVATIONS.get(activation, activation), a.activation
        kind = _setting(settings, "MODEL.TYPE", "")
        if kind == "resnet":
            yield "RESNET.STRIDE_1X1", _setting(settings, "RESNET.STRIDE_1X1", False), False
        if kind == "regnet":
            stride = _setting(settings, "REGNET.STRIDE", 2)
            yield "REGNET.STRIDE", [stride] * len(strides), strides
        if kind in ("anynet", "effnet"):
            section = {"anynet": "ANYNET", "effnet": "EN"}[kind]
            their_strides = _setting(settings, f"{section}.STRIDES", strides)
            yield f"{section}.STRIDES", list(their_strides) or strides, strides
        if kind in ("anynet", "regnet"):
            stem = _setting(settings, f"{kind.upper()}.STEM_TYPE", a.stem)
            yield f"{kind.upper()}.STEM_TYPE", _PYCLS_STEMS.get(stem, stem), a.stem
    except _NOT_PYCLS as error:
        raise WeightsError("its cfg is not one of pycls's") from error


def pycls_conventions(cfg: str) -> dict[str, Any]:
    """Returns the padding and the epsilon of the network in a pycls checkpoint.

    Args:
        cfg: the text of its config.

    Raises:
        WeightsError: it is none of pycls's.
    """
    try:
        eps = float(_setting(yaml.safe_load(cfg) or {}, "BN.EPS", PYCLS_EPS))
    except _NOT_PYCLS as error:
        raise WeightsError("its cfg is not one of pycls's") from error
    return {"padding": _PYCLS_PADDING, "bn_eps": eps}


def _setting(settings: Mapping[str, Any], path: str, default: Any) -> Any:
    section, key = path.split(".")
    return settings.get(section, {}).get(key, default)
