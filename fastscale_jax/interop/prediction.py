"""What a network sees in image files: `fastscale predict`."""

import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from fastscale_jax.arch import Architecture
from fastscale_jax.data.augment.augmented import check_channels, prepare
from fastscale_jax.data.sources.images import as_evaluated, read_image
from fastscale_jax.data.sources.source import Conventions
from fastscale_jax.models import Network
from fastscale_jax.utils.console import printable

if TYPE_CHECKING:
    from rich.table import Table

TOP = 5
# large enough to keep a machine busy, small enough for any machine's memory
_BATCH = 16

File = pathlib.Path | str
Read = Callable[[File], Image.Image]  # a ValueError says what is wrong with the file


class Guess(NamedTuple):
    """One class and its probability."""

    name: str
    label: int
    probability: float


class Prediction(NamedTuple):
    """The most likely classes of one file, or the problem with it."""

    file: str
    top: tuple[Guess, ...]  # the likeliest first
    problem: str = ""


class Embedding(NamedTuple):
    """The vector of one file, or the problem with it."""

    file: str
    vector: np.ndarray  # `[c]` float32; empty where there is a problem
    problem: str = ""


def predict(
    model: Network,
    variables: Any,
    files: Sequence[File],
    conventions: Conventions,
    classes: Sequence[str],
    *,
    top: int = TOP,
    read: Read = read_image,
) -> Iterator[Prediction]:
    """Yields the most likely classes of each file, in order.

    Args:
        model: the network.
        variables: its weights.
        files: images. One that cannot be read does not stop the others.
        conventions: of the images that the network was trained on.
        classes: their names, in the order of their labels.
        top: how many classes, at least 1; all of them, where there are fewer.
        read: reads a file's pixels.
    """
    probabilities = functools.partial(probabilities_of(model), variables)
    for file, row, problem in outputs(probabilities, files, model.architecture, conventions, read):
        yield Prediction(file, () if problem else best(row, classes, top), problem)


def embed(
    model: Network,
    variables: Any,
    files: Sequence[File],
    conventions: Conventions,
    *,
    read: Read = read_image,
) -> Iterator[Embedding]:
    """Yields the vector that the network makes of each file, in order.

    It is what the classifier takes: the last feature map, pooled.

    Args:
        model: the network.
        variables: its weights.
        files: as in `predict`.
        conventions: likewise.
        read: likewise.
    """
    vectors = functools.partial(vectors_of(model), variables)
    for output in outputs(vectors, files, model.architecture, conventions, read):
        yield Embedding(*output)


def predictions_table(predictions: Sequence[Prediction]) -> "Table":
    """Returns the predictions as a table with a row for each guess."""
    from rich.table import Table
    from rich.text import Text

    result = Table()
    result.add_column("file", overflow="fold")
    result.add_column("class")
    result.add_column("%", justify="right")
    for prediction in predictions:
        result.add_section()
        for i, guess in enumerate(prediction.top):
            file = prediction.file if i == 0 else ""
            # as Text, because rich would read brackets in a name as markup
            cells = (Text(printable(text)) for text in (file, guess.name))
            result.add_row(*cells, f"{100 * guess.probability:.1f}")
    return result


def describe(prediction: Prediction) -> dict[str, Any]:
    """Returns a prediction ready for JSON."""
    return {
        "file": prediction.file,
        "top": [
            {"class": name, "label": label, "probability": probability}
            for name, label, probability in prediction.top
        ],
    }


def probabilities_of(model: Network) -> Callable[[Any, Any], jax.Array]:
    """Returns the compiled function from variables and images `[n, h, w, 3]` to probabilities."""

    def probabilities(variables: Any, images: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.asarray(model.apply(variables, images, train=False)))

    return jax.jit(probabilities)


def vectors_of(model: Network) -> Callable[[Any, Any], jax.Array]:
    """Returns the compiled function from variables and images `[n, h, w, 3]` to vectors."""
    return jax.jit(functools.partial(model.apply, train=False, method="embed"))


def outputs(
    function: Callable[[np.ndarray], Any],
    images: Sequence[Any],
    network: Architecture,
    conventions: Conventions,
    read: Callable[[Any], Image.Image],
) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yields for each image its name, its row of the function's result, and its problem, if any.

    Args:
        function: takes prepared images `[n, h, w, channels]`; all batches have the same size.
        images: arguments of `read`, one for each image.
        network: the network that the function applies.
        conventions: of the images that the network was trained on.
        read: returns an image in RGB; a ValueError says what is wrong with it.
    """
    check_channels(network.name, network.in_channels)
    size, nothing = min(_BATCH, len(images)), np.zeros(0, np.float32)
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        inputs = [_input(image, network, conventions, read) for image in batch]
        ready = [x for x in inputs if not isinstance(x, str)]
        padded = ready + ready[:1] * (size - len(ready))  # one size, so compiled once
        rows = iter(np.asarray(function(np.stack(padded))) if ready else ())
        for name, image in zip(map(_name, batch), inputs, strict=True):
            if isinstance(image, str):
                yield name, nothing, image
                continue
            row = next(rows)
            finite = np.isfinite(row).all()
            diverged = f"{name}: the network gives NaN; its weights have diverged"
            yield (name, row, "") if finite else (name, nothing, diverged)


def prepared(image: Image.Image, network: Architecture, conventions: Conventions) -> np.ndarray:
    """Returns an image as the network takes it: `[h, w, channels]` float32, cropped and normalised.

    Args:
        image: RGB.
        network: that takes it.
        conventions: of the images that the network was trained on.
    """
    side, (mean, std) = network.resolution, conventions[:2]
    pixels = as_evaluated(image, side, **conventions.cropping)
    ready = prepare(pixels[None], resolution=side, mean=mean, std=std, channels=network.in_channels)
    return np.asarray(ready[0])


def _input(
    image: Any, network: Architecture, conventions: Conventions, read: Callable[[Any], Image.Image]
) -> np.ndarray | str:
    """Returns the network's input `[h, w, channels]`, or the problem with the image."""
    try:
        return prepared(read(image), network, conventions)
    except ValueError as error:
        return str(error)


def _name(image: Any) -> str:
    return str(image) if isinstance(image, (str, pathlib.Path)) else "an image"


def best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> tuple[Guess, ...]:
    """Returns the likeliest classes, the first one first.

    Args:
        probabilities: `[classes]`.
        classes: their names.
        top: how many; where there are fewer, all of them.
    """
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Guess(classes[i], i, float(probabilities[i])) for i in map(int, order))
