"""A network's weights from a file, and into one."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import yaml

from fastscale_jax.arch import Architecture, as_architecture
from fastscale_jax.data.sources import SOURCES
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
from fastscale_jax.train.checkpoint import latest_step
from fastscale_jax.train.loop import Start
from fastscale_jax.train.workdir import as_recorded, check_evaluable


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
        _check_path(path)
        _check_about(a, stored.about)
        library = detect(a, {name: tuple(x.shape) for name, x in stored.tensors.items()})
        imported = import_tensors(library, a, stored.tensors, other_classes=other_classes)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    variables = jax.tree.map(lambda x: x.astype(np.float32), imported.variables)
    description = f"{path}" + (f", in {library}'s names" if library != OURS else "")
    return Loaded(variables, imported.lacks_classifier, description, _normalisation(stored.about))


def load_for(config: Any, workdir: pathlib.Path | None) -> Loaded:
    """Returns the weights that a command is to use: the workdir's checkpoint, or `init_from`.

    Args:
        config: the whole config.
        workdir: may be None, or have no checkpoint; then it is `config.init_from`'s turn.

    Raises:
        WeightsError: there are none of either kind, or `load` refuses them.
        ValueError: the workdir holds a run of another network, or its files are damaged.
    """
    if workdir is not None and (latest_step(workdir) is not None or not config.init_from):
        check_evaluable(workdir, as_recorded(config))
        loaded = load(workdir, config.model)
        return loaded._replace(description=f"{workdir}, step {latest_step(workdir)}")
    if not config.init_from:
        raise WeightsError(
            "there are no weights: give --workdir, the folder of a trained run, or "
            "--config.init_from, a file of weights"
        )
    loaded = load(config.init_from, config.model)
    return loaded._replace(description=_described(loaded, config.data.name))


def load_to_start(config: Any) -> Start:
    """Returns the weights of `config.init_from` for training to begin with.

    A classifier for another number of classes is left out, to start afresh.

    Raises:
        WeightsError: as `load`.
    """
    loaded = load(config.init_from, config.model, other_classes=True)
    note = f"weights from {_described(loaded, config.data.name)}"
    if loaded.lacks_classifier:
        note += (
            f"; its last layer is for another number of classes than {config.model.num_classes}, "
            "and starts afresh"
        )
    return Start(loaded.variables, note)


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
    """Returns what the config.json beside a download of timm's says."""
    settings = about.get("pretrained_cfg")
    if not isinstance(settings, Mapping) or not {"mean", "std"} <= settings.keys():
        return None
    return tuple(settings["mean"]), tuple(settings["std"])


def _described(loaded: Loaded, source: str) -> str:
    """Returns where weights come from, and that they want other images than a source's."""
    ours = SOURCES[source][:2]
    if loaded.normalisation in (None, ours):
        return loaded.description
    mean, std = loaded.normalisation or ours
    return (
        f"{loaded.description}, made for images normalised by {mean} and {std}; {source} has "
        f"{ours[0]} and {ours[1]}"
    )


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
    if name is not None and name not in {c.name for c in COUNTERPARTS if c.library == "timm"}:
        raise WeightsError(
            f"its config.json says that these weights are for timm's {name}, which is none of our "
            "networks; docs/weights.md lists those that are"
        )


def _check_path(path: pathlib.Path) -> None:
    """Refuses downloads of networks that have our tensors and compute something else.

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
    """Yields what a pycls checkpoint's own config says of the network; older ones say less."""
    try:
        settings = yaml.safe_load(cfg)
    except yaml.YAMLError:
        return
    for section, key, ours in (
        ("BN", "EPS", OUR_EPS),
        ("MODEL", "ACTIVATION_FUN", a.activation),
        ("RESNET", "STRIDE_1X1", False),
    ):
        values = settings.get(section) if isinstance(settings, Mapping) else None
        if isinstance(values, Mapping) and key in values:
            is_float = isinstance(ours, float)
            theirs = values[key]
            yield f"{section}.{key}", float(theirs) if is_float else theirs, ours
