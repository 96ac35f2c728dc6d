"""What a network sees in image files: `--mode=predict`."""

import functools
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fastscale_jax.data.augment import prepare
from fastscale_jax.data.images import as_evaluated, read_image
from fastscale_jax.data.sources import SOURCES, class_names
from fastscale_jax.models import Network

if TYPE_CHECKING:
    from rich.table import Table

_TOP = 5
# large enough to keep a machine busy, small enough for the memory of any
_BATCH = 16


class Guess(NamedTuple):
    """One class, and how sure the network is."""

    name: str
    label: int
    probability: float


class Prediction(NamedTuple):
    """The most likely classes of one file, or why there are none."""

    file: str
    top: tuple[Guess, ...]  # the likeliest first
    problem: str = ""


def predict(
    model: Network, variables: Any, files: Sequence[pathlib.Path], source: str
) -> Iterator[Prediction]:
    """Yields the five most likely classes of each file, in order.

    Args:
        model: the network.
        variables: its weights.
        files: images. One that cannot be read does not stop the others.
        source: of `data.sources`, whose conventions the network was trained by.
    """
    names = class_names(source, model.architecture.num_classes)
    probabilities = jax.jit(functools.partial(_probabilities, model))
    size = min(_BATCH, len(files))
    for start in range(0, len(files), size):
        batch = files[start : start + size]
        read = [_read(file, model.architecture.resolution, source) for file in batch]
        images = [x for x in read if not isinstance(x, str)]
        padded = images + images[:1] * (size - len(images))  # one size, so compiled once
        found = iter(np.asarray(probabilities(variables, np.stack(padded))) if images else ())
        for file, image in zip(batch, read, strict=True):
            if isinstance(image, str):
                yield Prediction(str(file), (), image)
            else:
                yield Prediction(str(file), _top(next(found), names))


def table(predictions: Sequence[Prediction]) -> "Table":
    """Returns the predictions for people: a row a guess."""
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
            # as Text, or brackets in a name would be taken for markup
            result.add_row(Text(file), Text(guess.name), f"{100 * guess.probability:.1f}")
    return result


def describe(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Returns the predictions ready for JSON."""
    return [
        {
            "file": prediction.file,
            "top": [
                {"class": name, "label": label, "probability": _finite(probability)}
                for name, label, probability in prediction.top
            ],
        }
        for prediction in predictions
        if not prediction.problem
    ]


def _finite(probability: float) -> float | None:
    """JSON knows no NaN, which is what a diverged network gives."""
    return probability if math.isfinite(probability) else None


def _read(file: pathlib.Path, resolution: int, source: str) -> np.ndarray | str:
    """Returns the network's input `[h, w, 3]`, or why there is none."""
    conventions = SOURCES[source]
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


def _top(probabilities: np.ndarray, names: tuple[str, ...]) -> tuple[Guess, ...]:
    order = np.argsort(-probabilities, kind="stable")[:_TOP]
    return tuple(Guess(names[i], int(i), float(probabilities[i])) for i in order)
