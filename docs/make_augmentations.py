"""Draws the manual's picture of every augmentation, on scikit-learn's two photographs.

python -m docs.make_augmentations          # checks it
python -m docs.make_augmentations --write  # writes it
"""

import io
import itertools
import pathlib
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_images

from docs import maker, pictures
from fastscale_jax.data.augment import mixing, policies
from fastscale_jax.data.augment.operations import RANGES, apply_operation

FILE = pathlib.Path(__file__).parent / "augmentations.jpg"
SIZE, TITLE, GAP = 96, 15, 4  # pixels: of a tile, the line above it, and between tiles
DPI = 100
MAGNITUDES = 0, 0.25, 0.5, 0.75, 1
HALF = len(MAGNITUDES)  # tiles: a row is two halves, a wider gap between them
WITHOUT_MAGNITUDE = "auto_contrast", "equalize", "invert"
Tiles = list[tuple[str, np.ndarray]]


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """Returns a building and a flower, `[h, w, 3]` uint8, squares from their middle."""
    building, flower = (
        np.asarray(Image.fromarray(x[:, 106:-107]).resize((SIZE, SIZE)))
        for x in load_sample_images().images
    )
    return building, flower


def tiles(building: np.ndarray, flower: np.ndarray) -> Tiles:
    """Returns what is shown, with its titles, half row by half row."""
    row = np.stack([building] * 2 * HALF)
    keys = jax.random.split(jax.random.key(0), len(row))
    bright = jnp.asarray(row[:HALF]) / 255
    by_chance = {
        "lighting, std 1": _as_levels(policies.lighting(bright, keys[:HALF], 1.0)),
        "AutoAugment": policies.autoaugment(row, keys),
        "RandAugment": policies.randaugment(row, keys),
    }
    drawn = [(name, np.asarray(x)) for name, images in by_chance.items() for x in images]
    rising = [tile for name in _in_pairs() for tile in _rising(building, name)]
    fixed = [(name, _operated(building, name, 1)) for name in WITHOUT_MAGNITUDE]
    once, other = ("as it is", building), ("another", flower)
    mixed = _mixed("mixup", mixing.mixup, building, flower)
    mixed += _mixed("cutmix", mixing.cutmix, building, flower)
    return [*rising, once, *fixed, other, *drawn, *mixed]


def _in_pairs() -> list[str]:
    """Operations with a magnitude: those with an increasing variant, it after each; the others."""
    names = [x for x in RANGES if x not in WITHOUT_MAGNITUDE and not x.endswith("_inc")]
    pairs = [(x, f"{x}_inc") for x in names if f"{x}_inc" in RANGES]
    return [*itertools.chain(*pairs), *(x for x in names if f"{x}_inc" not in RANGES)]


def _rising(image: np.ndarray, name: str) -> Tiles:
    """An operation at each magnitude; the first tile's title has its name."""
    titles = [f"{name} {MAGNITUDES[0]}", *(f"{x}" for x in MAGNITUDES[1:])]
    images = [_operated(image, name, x) for x in MAGNITUDES]
    return list(zip(titles, images, strict=True))


def _operated(image: np.ndarray, name: str, magnitude: float) -> np.ndarray:
    return np.asarray(apply_operation(image[None], name, magnitude))[0]


def _mixed(
    name: str, mix: Callable[..., tuple[Array, Array]], image: np.ndarray, other: np.ndarray
) -> Tiles:
    """The first draws of which one sees something, with the share that remains."""
    pair = jnp.asarray(np.stack([image, other])) / 255
    draws = (mix(pair, jnp.eye(2), jax.random.key(seed), 1.0) for seed in itertools.count())
    shares = ((images, float(targets[0, 0])) for images, targets in draws)
    telling = ((f"{name} {s:.2f}", _as_levels(x)[0]) for x, s in shares if 0.2 < s < 0.8)
    return list(itertools.islice(telling, HALF))


def _as_levels(pixels: Array) -> np.ndarray:
    return np.asarray(jnp.round(255 * pixels.clip(0, 1)).astype(jnp.uint8))


def draw(shown: Tiles) -> Figure:
    """Returns the tiles in rows, each pixel of theirs one of the figure's."""
    pitch, line = SIZE + GAP, SIZE + TITLE + GAP
    rows = -(-len(shown) // (2 * HALF))
    width, height = 2 * HALF * pitch + 4 * GAP, rows * line + GAP
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    for position, (title, image) in enumerate(shown):
        row, column = divmod(position, 2 * HALF)
        left = GAP + column * pitch + (3 * GAP if column >= HALF else 0)
        bottom = height - (row + 1) * line
        figure.figimage(image, left, bottom)
        figure.text(left / width, (bottom + SIZE + 4) / height, title, fontsize=8)
    return figure


def differing() -> list[str]:
    """Returns the picture, if it shows anything else."""
    return [] if pictures.look_alike(FILE, _made()) else [FILE.name]


def write() -> None:
    """Writes the picture."""
    FILE.write_bytes(_made())


def _made() -> bytes:
    content = io.BytesIO()
    options = {"quality": 85, "optimize": True}
    draw(tiles(*photographs())).savefig(content, format="jpg", dpi=DPI, pil_kwargs=options)
    return content.getvalue()


MAKER = maker.Maker(differing, write)

if __name__ == "__main__":
    sys.exit(maker.run(__doc__, MAKER, "docs.make_augmentations"))
