"""A network's weights from a file, and into one."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from fastscale_jax.arch import Architecture, as_architecture
from fastscale_jax.checkpoints.stores import is_remote
from fastscale_jax.data.sources.conventions import SOURCES, SourceInfo
from fastscale_jax.data.sources.source import class_names
from fastscale_jax.interop import keras_files
from fastscale_jax.interop.beside import Beside, beside_of
from fastscale_jax.interop.claims import check_claims, check_file_name
from fastscale_jax.interop.files import Stored, read, write
from fastscale_jax.interop.following import followed, padded_as_known, what_changed
from fastscale_jax.interop.hub import is_on_hub
from fastscale_jax.interop.layout import OURS
from fastscale_jax.interop.naming import KERAS
from fastscale_jax.interop.pretrained import OWNER, default_weights
from fastscale_jax.interop.torch_files import EMA
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
from fastscale_jax.utils.paths import with_home


class Loaded(NamedTuple):
    """A network and its weights."""

    network: Architecture  # what was asked for, with what the file says in the fields left open
    variables: Variables  # float32; all that the network has
    has_fresh_classifier: bool  # random: the file's is for another number of classes, or missing
    description: str  # where they come from, for people
    followed: tuple[str, ...] = ()  # what the file decided of the network, for people
    images: SourceInfo | None = None  # what a run or an export says of its images
    beside: Beside = Beside()  # what a config.json says

    @property
    def account(self) -> str:
        """The weights' origin, and the values of the file's description that were followed."""
        words = ", ".join((*self.followed, *self.beside.words(names_classes=self._has_names)))
        return f"{self.description}; followed: {words}" if words else self.description

    @property
    def _has_names(self) -> bool:
        """Whether the names of classes in a config.json are as many as the network has classes."""
        return len(self.beside.labels) == self.network.num_classes > 0

    def images_like(self, usual: SourceInfo) -> SourceInfo:
        """Returns what the weights expect of images, and what their classes are called.

        Args:
            usual: what holds where the file says nothing.
        """
        if self.images is not None:
            return self.images
        conventions = self.beside.conventions(usual.conventions, self.network.resolution)
        classes = self.beside.labels if self._has_names else usual.classes
        return dataclasses.replace(usual, conventions=conventions, classes=classes)


def load(
    path: str | os.PathLike[str],
    config: Config,
    *,
    other_classes: bool = False,
    seed: int = 0,
    left_open: Collection[str] = (),
) -> Loaded:
    """Returns the weights of a network from a file, whoever named its tensors.

    Args:
        path: as in `files.read`; `timm` means timm's default weights of the network on the hub.
        config: the fields of `config.model`, or an `Architecture`; not modified.
        other_classes: where the file has no classifier, or one for another number of classes, draw
            a new one instead of raising.
        seed: of the new classifier, which is that of an untrained network with this seed.
        left_open: of `pretrained.OPEN`, the fields that the file decides.

    Raises:
        WeightsError: the file cannot be read, or holds another network's weights; or nothing says
            which padding and epsilon its network has.
        ValueError: the config describes no network.
    """
    path = located(os.fspath(path), as_architecture(config))
    options = {"other_classes": other_classes, "seed": seed, "left_open": left_open}
    return of_stored(read(path), path, config, **options)


def located(path: str, network: Architecture) -> str:
    """Returns a path in full: for `timm`, the name of the weights on the hub.

    Args:
        path: as in `load`.
        network: the network of the weights.

    Raises:
        ValueError: timm has no weights of the network.
    """
    if path == OWNER:
        return default_weights(network)
    return path if is_remote(path) or is_on_hub(path) else with_home(path)


def of_stored(
    stored: Stored,
    path: str | os.PathLike[str],
    config: Config,
    *,
    other_classes: bool = False,
    seed: int = 0,
    left_open: Collection[str] = (),
) -> Loaded:
    """Returns the weights of a network, as `load`, from a file that has been read.

    Args:
        stored: as `files.read` returns it.
        path: of the file.
        config: as in `load`.
        other_classes: as in `load`.
        seed: as in `load`.
        left_open: as in `load`.

    Raises:
        WeightsError: as `load`.
    """
    asked, about = as_architecture(config), stored.about
    shapes = {name: tuple(x.shape) for name, x in stored.tensors.items()}
    try:
        a = followed(asked, about, stored.file, left_open)
        a = padded_as_known(a, shapes, about, stored.file, left_open)
        check_claims(a, about)
        library = detect(a, shapes)
        if library == "timm" and stored.file is not None:
            check_file_name(a, stored.file)
        is_rgb = about.get("channels") == "RGB"
        imported = import_tensors(
            library, a, stored.tensors, other_classes=other_classes, is_rgb=is_rgb
        )
        said = beside_of(about).num_classes
        if not imported.lacks_classifier and said not in (None, a.num_classes):
            raise WeightsError(
                f"its config.json has num_classes {said}, but its last layer has "
                f"{a.num_classes} classes; correct num_classes there, or remove it"
            )
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    variables = jax.tree.map(lambda x: x.astype(np.float32), imported.variables)
    beside = beside_of(about)
    loaded = Loaded(
        a,
        variables,
        False,
        "".join((str(path), *_notes(library, about, path))),
        tuple(what_changed(asked, a, about)),
        about.get("images") or _images_of_config(path, a, about.get("config", {})),
        beside,
    )
    return with_fresh_classifier(loaded, a, seed) if imported.lacks_classifier else loaded


def _notes(library: str, about: Mapping[str, Any], path: str | os.PathLike[str]) -> Iterator[str]:
    """What is worth knowing of a file, for the end of its description."""
    if library != OURS:
        yield f", in {library}'s names"
    licence = beside_of(about).licence or about.get("licence")
    if licence:
        yield f", licence {licence}"
    if about.get("has_average"):
        yield f", the plain weights ({path}#{EMA} for their average)"
    ignored = beside_of(about).not_followed
    if ignored:
        yield f"; not followed: {', '.join(ignored)}"


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
    """Writes weights as a safetensors file, under our names or a library's; for Keras, as HDF5.

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
    about = {"model": a.to_config().to_dict()}
    tensors = to_library(library, a, variables)
    if library == KERAS:
        keras_files.write_keras(pathlib.Path(path), tensors)
    else:
        write(pathlib.Path(path), tensors, about)


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
