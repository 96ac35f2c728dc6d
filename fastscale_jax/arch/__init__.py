"""What a network is, what it costs, and how it scales. Pure Python: no JAX, no arrays."""

from fastscale_jax.arch.architecture import Architecture, as_architecture
from fastscale_jax.arch.bases import FAMILIES
from fastscale_jax.arch.blocks import BlockShape, ConvSizes, FeatureMap, Stage
from fastscale_jax.arch.complexity import Complexity, Layer, Part, count, layers, parts
from fastscale_jax.arch.growing import grow
from fastscale_jax.arch.growth import Growth, group_growth, growth
from fastscale_jax.arch.parameter_names import parameter_names
from fastscale_jax.arch.scaling import Scaling, scale
from fastscale_jax.arch.strategies import STRATEGIES, Multipliers, shares
from fastscale_jax.arch.zoo import PAPER_ROWS, model_config, resolve

__all__ = [
    "FAMILIES",
    "PAPER_ROWS",
    "STRATEGIES",
    "Architecture",
    "BlockShape",
    "Complexity",
    "ConvSizes",
    "FeatureMap",
    "Growth",
    "Layer",
    "Multipliers",
    "Part",
    "Scaling",
    "Stage",
    "as_architecture",
    "count",
    "group_growth",
    "grow",
    "growth",
    "layers",
    "model_config",
    "parameter_names",
    "parts",
    "resolve",
    "scale",
    "shares",
]
