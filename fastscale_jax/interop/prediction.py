"""What a network sees in image files: `fastscale predict`."""

import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fastscale_jax.data.augment.augmented import prepare
from fastscale_jax.data.sources.images import as_evaluated, read_image
from fastscale_jax.data.sources.source import Conventions
from fastscale_jax.models import Network

if TYPE_CHECKING:
    from rich.table import Table

_TOP = 5
# large enough to keep a machine busy, small enough for any machine's memory
_BATCH = 16


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


def predict(
    model: Network,
    variables: Any,
    files: Sequence[pathlib.Path],
    conventions: Conventions,
    classes: Sequence[str],
) -> Iterator[Prediction]:
    """Yields the five most likely classes of each file, in order.

    Args:
        model: the network.
        variables: its weights.
        files: images. One that cannot be read does not stop the others.
        conventions: of the images that the network was trained on.
        classes: their names, in the order of their labels.
    """
    probabilities = jax.jit(functools.partial(_probabilities, model))
    size = min(_BATCH, len(files))
    for start in range(0, len(files), size):
        batch = files[start : start + size]
        read = [_read(file, model.architecture.resolution, conventions) for file in batch]
        images = [x for x in read if not isinstance(x, str)]
        padded = images + images[:1] * (size - len(images))  # one size, so compiled once
        image_probabilities = iter(
            np.asarray(probabilities(variables, np.stack(padded))) if images else ()
        )
        for file, image in zip(batch, read, strict=True):
            if isinstance(image, str):
                yield Prediction(str(file), (), image)
            else:
                yield _prediction(str(file), next(image_probabilities), classes)


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
            result.add_row(Text(file), Text(guess.name), f"{100 * guess.probability:.1f}")
    return result


def describe(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Returns the predictions ready for JSON."""
    return [
        {
            "file": prediction.file,
            "top": [
                {"class": name, "label": label, "probability": probability}
                for name, label, probability in prediction.top
            ],
        }
        for prediction in predictions
        if not prediction.problem
    ]


def _read(file: pathlib.Path, resolution: int, conventions: Conventions) -> np.ndarray | str:
    """Returns the network's input `[h, w, 3]`, or the problem with the file."""
    try:
        pixels = as_evaluated(read_image(file), resolution, conventions.crop)
    except ValueError as error:
        return str(error)
    images = prepare(
        pixels[None], resolution=resolution, mean=conventions.mean, std=conventions.std
    )
    return np.asarray(images[0])


def _probabilities(model: Network, variables: Any, images: jax.Array) -> jax.Array:
    return jax.nn.softmax(jnp.asarray(model.apply(variables, images, train=False)))


def _prediction(file: str, probabilities: np.ndarray, classes: Sequence[str]) -> Prediction:
    if not np.isfinite(probabilities).all():
        return Prediction(file, (), f"{file}: the network gives NaN; its weights have diverged")
    return Prediction(file, best(probabilities, classes, _TOP))


def best(probabilities: np.ndarray, classes: Sequence[str], top: int) -> tuple[Guess, ...]:
    """Returns the likeliest classes, the first one first.

    Args:
        probabilities: `[classes]`.
        classes: their names.
        top: how many; where there are fewer, all of them.
    """
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Guess(classes[i], i, float(probabilities[i])) for i in map(int, order))
