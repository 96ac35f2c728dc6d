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
    probabilities = functools.partial(_probabilities, model)
    for file, row, problem in _outputs(probabilities, model, variables, files, conventions, read):
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
    vectors = functools.partial(model.apply, train=False, method="embed")
    for output in _outputs(vectors, model, variables, files, conventions, read):
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


def _outputs(
    function: Callable[[Any, jax.Array], Any],
    model: Network,
    variables: Any,
    files: Sequence[File],
    conventions: Conventions,
    read: Read,
) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yields each file's name, its row of what the function makes of images, and its problem."""
    function, a = jax.jit(function), model.architecture
    check_channels(a.name, a.in_channels)
    size, nothing = min(_BATCH, len(files)), np.zeros(0, np.float32)
    for start in range(0, len(files), size):
        batch = files[start : start + size]
        inputs = [_input(file, a, conventions, read) for file in batch]
        images = [x for x in inputs if not isinstance(x, str)]
        padded = images + images[:1] * (size - len(images))  # one size, so compiled once
        rows = iter(np.asarray(function(variables, np.stack(padded))) if images else ())
        for file, image in zip(map(str, batch), inputs, strict=True):
            if isinstance(image, str):
                yield file, nothing, image
                continue
            row = next(rows)
            finite = np.isfinite(row).all()
            diverged = f"{file}: the network gives NaN; its weights have diverged"
            yield (file, row, "") if finite else (file, nothing, diverged)


def _input(file: File, a: Architecture, conventions: Conventions, read: Read) -> np.ndarray | str:
    """Returns the network's input `[h, w, 3]`, or the problem with the file."""
    try:
        pixels = as_evaluated(read(file), a.resolution, conventions.crop)
    except ValueError as error:
        return str(error)
    images = prepare(
        pixels[None],
        resolution=a.resolution,
        mean=conventions.mean,
        std=conventions.std,
        channels=a.in_channels,
    )
    return np.asarray(images[0])


def _probabilities(model: Network, variables: Any, images: jax.Array) -> jax.Array:
    return jax.nn.softmax(jnp.asarray(model.apply(variables, images, train=False)))


def best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> tuple[Guess, ...]:
    """Returns the likeliest classes, the first one first.

    Args:
        probabilities: `[classes]`.
        classes: their names.
        top: how many; where there are fewer, all of them.
    """
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Guess(classes[i], i, float(probabilities[i])) for i in map(int, order))
