"""A network's weights from a file, and into one."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import yaml

from fastscale_jax.arch import Architecture, as_architecture
from fastscale_jax.interop.counterparts import COUNTERPARTS, LOOKALIKES
from fastscale_jax.interop.files import read, write
from fastscale_jax.interop.layout import OUR_EPS, OURS
from fastscale_jax.interop.weights import (
    Config,
    Variables,
    WeightsError,
    detect,
    import_tensors,
    to_library,
)


class Loaded(NamedTuple):
    """A network's weights."""

    variables: Variables  # float32
    lacks_classifier: bool  # the file's is for another number of classes
    description: str  # where they come from, for people
    # mean and standard deviation of the images that they were made for, where the file says so
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def load(path: str | pathlib.Path, config: Config, *, other_classes: bool = False) -> Loaded:
    """Returns the weights of a network from a file, whoever named its tensors.

    Args:
        path: as in `files.read`.
        config: the fields of `config.model`, or an `Architecture`; not modified.
        other_classes: where the file's classifier is for another number of classes, leave it out
            instead of raising.

    Raises:
        WeightsError: the file cannot be read, or holds another network's weights.
        ValueError: the config describes no network.
    """
    path, a = pathlib.Path(path), as_architecture(config)
    stored = read(path)
    try:
        _check_about(a, stored.about)
        library = detect(a, {name: tuple(x.shape) for name, x in stored.tensors.items()})
        if library == "timm":
            _check_path(path)
        imported = import_tensors(library, a, stored.tensors, other_classes=other_classes)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    variables = jax.tree.map(lambda x: x.astype(np.float32), imported.variables)
    description = f"{path}" + (f", in {library}'s names" if library != OURS else "")
    return Loaded(variables, imported.lacks_classifier, description, _normalisation(stored.about))


def save(
    path: str | pathlib.Path, config: Config, variables: Mapping[str, Any], library: str = OURS
) -> None:
    """Writes weights as a safetensors file, under our names or a library's.

    Args:
        path: its folder is made if need be; a file of that name is replaced.
        config: the fields of `config.model`, or an `Architecture`; not modified.
        variables: `{"params": …, "batch_stats": …}` of arrays; not modified.
        library: `fastscale_jax`, `pycls`, `timm` or `torchvision`.

    Raises:
        WeightsError: it cannot be written; the variables are not those of the network; or the
            library has none like it.
        ValueError: the config describes no network, or the library is unknown.
    """
    a = as_architecture(config)
    about = {"model": a.to_config().to_dict()} if library == OURS else {}
    write(pathlib.Path(path), to_library(library, a, variables), about)


def _normalisation(about: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns what the config.json beside a download of timm's says, if it makes sense."""
    settings: Any = about.get("pretrained_cfg")
    try:
        mean, std = (tuple(map(float, settings[key])) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        return None
    return mean, std


def _check_about(a: Architecture, about: Mapping[str, Any]) -> None:
    """Refuses a file that says of its network what no shape of a tensor shows, and ours is not."""
    for what, theirs, ours in (
        *_hidden_fields(a, about.get("model", {})),
        *_pycls_settings(a, about.get("cfg", "")),
    ):
        if theirs != ours:
            raise WeightsError(
                f"these weights are for a network whose {what} is {theirs}; {a.name}'s is {ours}"
            )
    name = about.get("architecture")
    if name is not None and name not in [c.name for c in COUNTERPARTS if c.library == "timm"]:
        raise WeightsError(
            f"its config.json says that these weights are for timm's {name}, which is none of our "
            "networks; docs/weights.md lists those that are"
        )


def _check_path(path: pathlib.Path) -> None:
    """Refuses downloads of timm's networks that have our tensors and compute something else.

    Only their names tell: nothing in the file does.
    """
    for name, difference in LOOKALIKES.items():
        if name in str(path.resolve()):
            raise WeightsError(
                f"by its name these are weights of timm's {name}…, which {difference}; none of our "
                "networks does"
            )


def _hidden_fields(a: Architecture, model: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    ours = a.to_config().to_dict()
    for field in ("block", "stem", "activation", "strides"):
        if field in model:
            theirs = model[field]
            yield field, tuple(theirs) if isinstance(theirs, list) else theirs, ours[field]


def _pycls_settings(a: Architecture, cfg: str) -> Iterator[tuple[str, Any, Any]]:
    """Yields what a pycls checkpoint's own config says of the network; older ones say less.

    It has every key that pycls knows, those of other kinds of networks among them.
    """
    try:
        settings = yaml.safe_load(cfg) or {}
        eps = settings.get("BN", {}).get("EPS", OUR_EPS)
        yield "BN.EPS", float(eps), OUR_EPS
        activation = str(settings.get("MODEL", {}).get("ACTIVATION_FUN", a.activation)).lower()
        yield "MODEL.ACTIVATION_FUN", _PYCLS_ACTIVATIONS.get(activation, activation), a.activation
        if a.stem == "conv7x7_pool":
            yield "RESNET.STRIDE_1X1", settings.get("RESNET", {}).get("STRIDE_1X1", False), False
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise WeightsError("its cfg is not one of pycls's") from error


# of its names, those that are not ours
_PYCLS_ACTIVATIONS = {"swish": "silu"}
