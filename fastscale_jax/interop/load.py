"""A network's weights from a file, and into one."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fastscale_jax.arch import Architecture, as_architecture
from fastscale_jax.checkpoints.stores import is_remote
from fastscale_jax.data.sources.conventions import SOURCES, SourceInfo
from fastscale_jax.data.sources.source import class_names
from fastscale_jax.interop.claims import check_claims, check_file_name
from fastscale_jax.interop.files import Stored, read, write
from fastscale_jax.interop.layout import OURS
from fastscale_jax.interop.weights import (
    Config,
    Variables,
    WeightsError,
    detect,
    import_tensors,
    to_library,
)
from fastscale_jax.models import build, initial_variables
from fastscale_jax.utils.compiling import hasty
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.paths import at_home


class Loaded(NamedTuple):
    """A network's weights."""

    variables: Variables  # float32; all that the network has
    has_fresh_classifier: bool  # random: the file's is for another number of classes, or missing
    description: str  # where they come from, for people
    # mean and standard deviation of the images that they were made for, where the file says so
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    images: SourceInfo | None = None  # what a run or an export says of them


def load(
    path: str | os.PathLike[str], config: Config, *, other_classes: bool = False, seed: int = 0
) -> Loaded:
    """Returns the weights of a network from a file, whoever named its tensors.

    Args:
        path: as in `files.read`.
        config: the fields of `config.model`, or an `Architecture`; not modified.
        other_classes: where the file has no classifier, or one for another number of classes, draw
            a new one instead of raising.
        seed: of the new classifier, which is that of an untrained network with this seed.

    Raises:
        WeightsError: the file cannot be read, or holds another network's weights.
        ValueError: the config describes no network.
    """
    path = at_home(path) if not is_remote(path) else path
    return of_stored(read(path), path, config, other_classes=other_classes, seed=seed)


def of_stored(
    stored: Stored,
    path: str | os.PathLike[str],
    config: Config,
    *,
    other_classes: bool = False,
    seed: int = 0,
) -> Loaded:
    """Returns the weights of a network, as `load`, from a file that has been read.

    Args:
        stored: as `files.read` returns it.
        path: of the file.
        config: as in `load`.
        other_classes: as in `load`.
        seed: as in `load`.

    Raises:
        WeightsError: as `load`.
    """
    a = as_architecture(config)
    try:
        check_claims(a, stored.about)
        library = detect(a, {name: tuple(x.shape) for name, x in stored.tensors.items()})
        if library == "timm":
            check_file_name(a, pathlib.Path(path))
        imported = import_tensors(library, a, stored.tensors, other_classes=other_classes)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    variables = jax.tree.map(lambda x: x.astype(np.float32), imported.variables)
    loaded = Loaded(
        variables,
        False,
        f"{path}" + (f", in {library}'s names" if library != OURS else ""),
        _normalisation(stored.about),
        stored.about.get("images") or _images_of_config(path, a, stored.about.get("config", {})),
    )
    return with_fresh_classifier(loaded, a, seed) if imported.lacks_classifier else loaded


def with_fresh_classifier(loaded: Loaded, network: Architecture, seed: int) -> Loaded:
    """Returns weights whose classifier is the one that the untrained network has.

    Args:
        loaded: the weights; not modified.
        network: theirs.
        seed: of the classifier.
    """

    def classifier(key: jax.Array) -> dict[str, jax.Array]:
        return initial_variables(build(network), key)["params"]["head"]["fc"]

    drawn = jax.jit(classifier, compiler_options=hasty())(jax.random.key(seed))
    params = loaded.variables["params"]
    head = {**params.get("head", {}), "fc": jax.tree.map(np.asarray, drawn)}
    variables = {**loaded.variables, "params": {**params, "head": head}}
    return loaded._replace(variables=variables, has_fresh_classifier=True)


def save(
    path: str | pathlib.Path, config: Config, variables: Mapping[str, Any], library: str = OURS
) -> None:
    """Writes weights as a safetensors file, under our names or a library's.

    Args:
        path: its folder is made if need be; a file of that name is replaced.
        config: the fields of `config.model`, or an `Architecture`; not modified.
        variables: `{"params": …, "batch_stats": …}` of arrays; not modified.
        library: one of `layout.LIBRARIES`.

    Raises:
        WeightsError: it cannot be written; the variables are not those of the network; or the
            library has none like it.
        ValueError: the config describes no network, or the library is unknown.
    """
    a = as_architecture(config)
    about = {"model": a.to_config().to_dict()} if library == OURS else {}
    write(pathlib.Path(path), to_library(library, a, variables), about)


def _images_of_config(
    path: str | os.PathLike[str], a: Architecture, config: Mapping[str, Any]
) -> SourceInfo | None:
    """What the config of a run says of its images, for a checkpoint of an older version."""
    recorded = config.get("data", {})
    if recorded.get("name") not in SOURCES:
        return None
    data = {key: recorded.get(key, "") for key in ("name", "dir", "tfds_name")}
    name = data["name"]
    names = class_names(name, a.num_classes, directory=data["dir"], tfds_name=data["tfds_name"])
    complain(
        f"the run of {path} is of an older version, which kept no class names; they are those that "
        f"{name} has now"
    )
    return SourceInfo(name, names, SOURCES[name], recorded.get("exif", False))


def _normalisation(about: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns what the config.json beside a download of timm's says, if it makes sense."""
    if about.get("images") is not None:
        return about["images"].conventions[:2]
    settings: Any = about.get("pretrained_cfg")
    try:
        mean, std = (tuple(map(float, settings[key])) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        return None
    return mean, std
