"""The names of a network's parameters, without JAX."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from fastscale_jax.arch.architecture import Architecture
from fastscale_jax.arch.complexity import layers


def parameter_names(network: Architecture | ConfigDict | Mapping[str, object]) -> tuple[str, ...]:
    """Returns the dotted name of each array of parameters, in the order of the layers.

    `fastscale info --parameters` lists the same names, such as `s2.b1.se.reduce.kernel`.

    Args:
        network: an `Architecture`, or the fields of `config.model`; not modified.

    Raises:
        ValueError: the config does not describe a network.
    """
    return tuple(
        f"{layer.name}.{array}"
        for layer in layers(network)
        if layer.c_group
        for array in (("bn.bias", "bn.scale", "kernel") if layer.kernel else ("bias", "kernel"))
    )
