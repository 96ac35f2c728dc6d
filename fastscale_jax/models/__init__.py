"""Networks in Flax Linen; one module builds every architecture."""

from fastscale_jax.convs.grouped_conv import grouped_conv
from fastscale_jax.models.initial import initial_variables
from fastscale_jax.models.network import Network, build

__all__ = ["Network", "build", "grouped_conv", "initial_variables"]
