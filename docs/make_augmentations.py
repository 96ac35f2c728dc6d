"""Draws the manual's picture of every augmentation, on scikit-learn's two photographs.

python -m docs.make_augmentations
"""

import itertools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_images

from fastscale_jax.data import mixing, policies
from fastscale_jax.data.operations import RANGES, apply_operation

FILE = pathlib.Path(__file__).parent / "augmentations.jpg"
COLUMNS = 7
SIZE = 128  # pixels
MAGNITUDE = 0.8
Tiles = list[tuple[str, np.ndarray]]


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """Returns a building and a flower, `[h, w, 3]` uint8, squares from their middle."""
    building, flower = (
        np.asarray(Image.fromarray(x[:, 106:-107]).resize((SIZE, SIZE)))
        for x in load_sample_images().images
    )
    return building, flower


def tiles(building: np.ndarray, flower: np.ndarray) -> Tiles:
    """Returns what is shown, with its titles, row by row."""
    key, row = jax.random.key(0), np.stack([building] * COLUMNS)
    operations = [
        (name, np.asarray(apply_operation(building[None], name, MAGNITUDE))[0]) for name in RANGES
    ]
    by_chance = {
        "AutoAugment": policies.autoaugment(row, key),
        "RandAugment": policies.randaugment(row, key),
        "lighting, std 1": _as_levels(policies.lighting(jnp.asarray(row) / 255, key, 1.0)),
    }
    drawn = [(name, np.asarray(x)) for name, images in by_chance.items() for x in images]
    photos = [("as it is", building), ("another", flower)]
    mixed = _mixed("mixup", mixing.mixup, photos, 3) + _mixed("cutmix", mixing.cutmix, photos, 2)
    return [*operations, *drawn, *photos, *mixed]


def _mixed(name: str, mix: Callable[..., tuple[Array, Array]], photos: Tiles, count: int) -> Tiles:
    """The first draws of which one sees something."""
    pair = jnp.asarray(np.stack([image for _, image in photos])) / 255
    draws = (mix(pair, jnp.eye(2), jax.random.key(seed), 1.0) for seed in itertools.count())
    shares = ((images, float(targets[0, 0])) for images, targets in draws)
    telling = ((f"{name} {s:.2f}", _as_levels(x)[0]) for x, s in shares if 0.2 < s < 0.8)
    return list(itertools.islice(telling, count))


def _as_levels(pixels: Array) -> np.ndarray:
    return np.asarray(jnp.round(255 * pixels.clip(0, 1)).astype(jnp.uint8))


def draw(shown: Tiles) -> Figure:
    """Returns the tiles in rows."""
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(COLUMNS, 1.17 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (title, image) in zip(axes, shown, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=6, pad=2)
    return figure


def main() -> None:
    """Writes the picture."""
    figure = draw(tiles(*photographs()))
    figure.savefig(FILE, dpi=130, pil_kwargs={"quality": 80, "optimize": True})
    print(FILE)


if __name__ == "__main__":
    main()
