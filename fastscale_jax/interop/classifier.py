"""A trained network that takes images and names what is in them: `fastscale_jax.load`."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastscale_jax.arch import Architecture
from fastscale_jax.data.augment.augmented import check_channels, prepare
from fastscale_jax.data.sources.conventions import SOURCES, SourceInfo
from fastscale_jax.data.sources.examples import as_image
from fastscale_jax.data.sources.images import as_evaluated
from fastscale_jax.data.sources.source import class_names
from fastscale_jax.interop.files import read
from fastscale_jax.interop.load import of_stored
from fastscale_jax.interop.prediction import best
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.models import Network, build
from fastscale_jax.utils.paths import with_home

_BATCH = 32


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
        probabilities = self._batched(self._probabilities, images)
        if not np.isfinite(probabilities).all():
            raise ValueError("the network gives NaN; its weights have diverged")
        return probabilities

    def embed(self, images: Any) -> np.ndarray:
        """Returns the vectors that the classifier would take, `[images, channels]` float32.

        Raises:
            ValueError: something is no image.
        """
        return self._batched(self._vectors, images)

    def prepare(self, images: Any) -> np.ndarray:
        """Returns images as the network takes them, `[images, h, w, channels]`, normalised.

        Raises:
            ValueError: something is no image, or the network takes neither RGB nor grey.
        """
        a, (mean, std, crop) = self.model.architecture, self.images.conventions
        check_channels(a.name, a.in_channels)
        side, channels = a.resolution, a.in_channels
        ready = functools.partial(prepare, resolution=side, mean=mean, std=std, channels=channels)
        pixels = [
            as_evaluated(as_image(image, exif=self.images.exif), side, crop)
            for image in _as_list(images)
        ]
        return np.stack([np.asarray(ready(one[None])[0]) for one in pixels])

    def _batched(self, function: Any, images: Any) -> np.ndarray:
        images = _as_list(images)
        if not images:
            raise ValueError("there is no image")
        size, parts = min(_BATCH, len(images)), []
        for start in range(0, len(images), size):
            batch = self.prepare(images[start : start + size])
            # padded to one size, so that it is compiled once
            padding = ((0, size - len(batch)), (0, 0), (0, 0), (0, 0))
            parts.append(np.asarray(function(self.variables, np.pad(batch, padding)))[: len(batch)])
        return np.concatenate(parts)

    @functools.cached_property
    def _probabilities(self) -> Any:
        def probabilities(variables: Any, x: jax.Array) -> jax.Array:
            return jax.nn.softmax(jnp.asarray(self.model.apply(variables, x, train=False)))

        return jax.jit(probabilities)

    @functools.cached_property
    def _vectors(self) -> Any:
        return jax.jit(
            lambda variables, x: self.model.apply(variables, x, train=False, method="embed")
        )


def _as_list(images: Any) -> list[Any]:
    """One image, or several in a list or tuple, as a list."""
    return list(images) if isinstance(images, (list, tuple)) else [images]


def load(
    path: str | os.PathLike[str],
    network: Architecture | None = None,
    classes: Sequence[str] | None = None,
) -> Classifier:
    """Returns the classifier that weights make; see `fastscale_jax.load`.

    Raises:
        WeightsError: they cannot be read, are of another network, or do not say of which.
        ValueError: `classes` are not as many as the network's.
    """
    path = with_home(path)
    stored = read(path)
    if network is None:
        if not stored.about.get("model"):
            raise WeightsError(
                f"{path} does not say of which network its weights are; name it, as in "
                "load(path, 'regnety:400mf')"
            )
        network = Architecture.from_config(_with_tuples(stored.about["model"]))
    loaded = of_stored(stored, pathlib.Path(path), network)
    images = loaded.images or _usual(network, loaded.normalisation)
    if classes is not None:
        if len(classes) != network.num_classes:
            raise ValueError(
                f"{len(classes)} classes are named, and the network has {network.num_classes}"
            )
        images = dataclasses.replace(images, classes=tuple(classes))
    dtype = stored.about.get("config", {}).get("dtype", "float32")
    variables = jax.tree.map(jnp.asarray, loaded.variables)
    return Classifier(build(network, dtype=dtype), variables, images, loaded.description)


def _usual(network: Architecture, normalisation: Any) -> SourceInfo:
    """What is usual of images, where the weights do not say it."""
    conventions = SOURCES["folder"]
    if normalisation is not None:
        mean, std = normalisation
        conventions = conventions._replace(mean=mean, std=std)
    return SourceInfo("folder", class_names("synthetic", network.num_classes), conventions)


def _with_tuples(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(x) if isinstance(x, list) else x for key, x in model.items()}
