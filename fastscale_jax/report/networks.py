"""The networks that tables, figures and the explorer share, and their costs."""

import functools

from fastscale_jax.arch import PAPER_ROWS, Architecture, Complexity, count
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.zoo import base_architecture

# scaled networks, `family:base`, with the paper's names
NAMES = {
    "efficientnet:b0": "EfficientNet-B0",
    "regnety:500mf": "RegNetY-500MF",
    "regnetz:500mf": "RegNetZ-500MF",
    "regnety:4gf": "RegNetY-4GF",
    "regnetz:4gf": "RegNetZ-4GF",
    "resnet:50": "ResNet-50",
    "resnet:50-32x4d": "ResNeXt-50",
}
# networks whose growth the tables show: the three that the paper scales by every strategy
SMALL = ("efficientnet:b0", "regnety:500mf", "regnetz:500mf")
# all networks that the paper scales
SCALED = (*SMALL, "regnety:4gf", "regnetz:4gf")
# the strategies of Figure 2
FIGURE_2 = ("dwr", "dw", "dWr", "w")
# 33 factors from 1 to 100, evenly spaced in their logarithm, rounded to four digits
FACTORS = tuple(float(f"{100 ** (i / 32):.4g}") for i in range(33))
ROWS = {row.name: row for row in PAPER_ROWS}


@functools.cache
def base(key: str) -> Architecture:
    """Returns a network by `family:base`."""
    return base_architecture(*key.split(":", 1))


@functools.cache
def grown(key: str, strategy: str, factor: float) -> Architecture:
    """Returns a network scaled by a factor, all its sizes rounded."""
    return scaled(base(key), strategy, factor=factor)[0]


@functools.cache
def cost(key: str, strategy: str, factor: float) -> Complexity:
    """Counts a scaled network, for one image."""
    return count(grown(key, strategy, factor))


def row_key(name: str) -> str:
    """Returns `family:base` of a row of the paper's tables."""
    return ROWS[name].key


@functools.cache
def row_network(name: str) -> Architecture:
    """Returns the network of a row of the paper's tables."""
    row = ROWS[name]
    if not row.strategy:
        return base(row_key(name))
    return grown(row_key(name), row.strategy, row.factor)


@functools.cache
def row_cost(name: str) -> Complexity:
    """Counts the network of a row of the paper's tables, for one image."""
    return count(row_network(name))


def rows_of(key: str) -> tuple[str, ...]:
    """Returns the paper's rows for a base and the networks scaled from it, small to large."""
    return tuple(name for name in ROWS if row_key(name) == key)
