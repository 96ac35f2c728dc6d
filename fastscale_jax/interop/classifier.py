"""A trained network that takes images and names what is in them: `fastscale_jax.load`."""

import dataclasses
import functools
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fastscale_jax.arch import Architecture
from fastscale_jax.data.augment.augmented import check_channels
from fastscale_jax.data.sources.conventions import SOURCES, SourceInfo
from fastscale_jax.data.sources.examples import as_image
from fastscale_jax.data.sources.source import class_names
from fastscale_jax.interop.beside import beside_of
from fastscale_jax.interop.files import Stored, read
from fastscale_jax.interop.following import changed
from fastscale_jax.interop.load import located, of_stored
from fastscale_jax.interop.prediction import (
    best,
    outputs,
    prepared,
    probabilities_of,
    vectors_of,
)
from fastscale_jax.interop.pretrained import OPEN
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.models import Network, build
from fastscale_jax.utils.paths import with_home


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A network, its weights, and what it must know of images.

    Images are given one by one or as a list: paths of files, Pillow images, or arrays `[h, w, 3]`
    uint8 in RGB, of any sizes. They are cropped, resized and normalised as in evaluation.

    Attributes:
        model: the network.
        variables: its weights.
        images: class names, normalisation and cropping.
        description: where the weights come from, for people.
    """

    model: Network
    variables: Mapping[str, Any]
    images: SourceInfo
    description: str = ""

    def __repr__(self) -> str:
        """Returns a line: the weights are millions of numbers."""
        network = self.model.architecture
        return (
            f"<Classifier {network.name}, {network.num_classes} classes, {network.resolution} px"
            f"{f', {self.description}' if self.description else ''}>"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return self.images.classes

    def __call__(self, images: Any, *, top: int = 5) -> Any:
        """Returns the likeliest classes: a tuple of `Guess`, or a list of tuples for a list.

        Args:
            images: one, or a list of them.
            top: how many classes to name.

        Raises:
            ValueError: something is no image; or the network has no classifier.
        """
        guesses = [best(row, self.classes, top) for row in self.probabilities(images)]
        return guesses if isinstance(images, (list, tuple)) else guesses[0]

    def probabilities(self, images: Any) -> np.ndarray:
        """Returns the probability of each class, `[images, classes]` float32.

        Raises:
            ValueError: something is no image; or the network has no classifier, or has diverged.
        """
        if not self.model.architecture.num_classes:
            raise ValueError("the network has no classifier; its vectors are given by embed")
        return self._rows(self._probabilities, images)

    def embed(self, images: Any) -> np.ndarray:
        """Returns the vectors that the classifier would take, `[images, channels]` float32.

        Raises:
            ValueError: something is no image.
        """
        return self._rows(self._vectors, images)

    def prepare(self, images: Any) -> np.ndarray:
        """Returns images as the network takes them, `[images, h, w, channels]`, normalised.

        Raises:
            ValueError: something is no image, or the network takes neither RGB nor grey.
        """
        network, conventions = self.model.architecture, self.images.conventions
        check_channels(network.name, network.in_channels)
        return np.stack([prepared(self._read(x), network, conventions) for x in _as_list(images)])

    def _rows(self, function: Any, images: Any) -> np.ndarray:
        images = _as_list(images)
        if not images:
            raise ValueError("there is no image")
        rows, of_images = [], functools.partial(function, self.variables)
        network, conventions = self.model.architecture, self.images.conventions
        for _, row, problem in outputs(of_images, images, network, conventions, self._read):
            if problem:
                raise ValueError(problem)
            rows.append(row)
        return np.stack(rows)

    def _read(self, image: Any) -> Image.Image:
        return as_image(image, exif=self.images.exif)

    @functools.cached_property
    def _probabilities(self) -> Any:
        return probabilities_of(self.model)

    @functools.cached_property
    def _vectors(self) -> Any:
        return vectors_of(self.model)


def _as_list(images: Any) -> list[Any]:
    """One image, or several in a list or tuple, as a list."""
    return list(images) if isinstance(images, (list, tuple)) else [images]


def load(
    path: str | os.PathLike[str],
    network: Architecture | None = None,
    classes: Sequence[str] | None = None,
    left_open: Collection[str] = OPEN,
) -> Classifier:
    """Returns a classifier with the weights of a file; see `fastscale_jax.load`.

    Raises:
        WeightsError: the weights cannot be read, are of another network, or name no network.
        ValueError: the number of `classes` is not the network's.
    """
    path = os.fspath(path)
    path = with_home(path) if network is None else located(path, network)
    stored = read(path)
    network = network or network_of(stored, path)
    loaded = of_stored(stored, path, network, left_open=left_open)
    names = class_names("synthetic", loaded.network.num_classes)
    images = loaded.images_like(SourceInfo("folder", names, SOURCES["folder"]))
    if classes is not None:
        if len(classes) != network.num_classes:
            raise ValueError(
                f"{len(classes)} classes are named, and the network has {network.num_classes}"
            )
        images = dataclasses.replace(images, classes=tuple(classes))
    dtype = stored.about.get("config", {}).get("dtype", "float32")
    variables = jax.tree.map(jnp.asarray, loaded.variables)
    return Classifier(build(loaded.network, dtype=dtype), variables, images, loaded.account)


def network_of(stored: Stored, path: str) -> Architecture:
    """Returns the network that a file says its weights are of.

    Args:
        stored: the file.
        path: of it, for messages.

    Raises:
        WeightsError: it does not say so.
    """
    about = stored.about
    if about.get("model"):
        return Architecture.from_config(_with_tuples(about["model"]))
    beside = beside_of(about)
    theirs = beside.counterpart
    if theirs is None:
        said = f" (it says {beside.architecture!r})" if beside.architecture else ""
        raise WeightsError(
            f"{path} does not say of which network its weights are{said}; name it, as in "
            "load(path, 'regnety:400mf')"
        )
    classes = {} if beside.num_classes is None else {"num_classes": beside.num_classes}
    return changed(theirs.architecture(), classes)


def _with_tuples(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(x) if isinstance(x, list) else x for key, x in model.items()}
