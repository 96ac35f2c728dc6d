"""Settings of a network's computation, which do not change the network itself."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax, random

from fastscale_jax.convs.conv_choice import GPUS

Dtype = Any
REMATS = ("none", "blocks", "stages")
PLATFORMS = ("", "cpu", "tpu", *GPUS)


@dataclasses.dataclass(frozen=True)
class Computation:
    """Precision, kernel and BatchNorm settings.

    Attributes:
        dtype: of the computation; parameters are float32.
        implementation: of `grouped_conv`, for the spatial convs.
        scan_blocks: compile the equal blocks of a stage once, and loop over them.
        axis: the mesh axis that the batch is sharded over, inside `shard_map`; empty: the batch is
            whole.
        sync_bn: BatchNorm's statistics are those of all devices' images, not of one device's.
        bn_group_size: images per BatchNorm group, in the batch's order; 0: the whole batch.
        frozen_norms: layers, as `s2.b1.a`, whose BatchNorm keeps its running statistics: in
            training it computes with them, as in evaluation. A part of the network has their names
            within it, as `a`.
        platform: JAX's name of the platform that training is compiled for; empty: the default.
        remat: one of `REMATS`; the backward pass computes each block, or stage, again from its
            input.
    """

    dtype: Dtype = jnp.float32
    implementation: str = "auto"
    scan_blocks: bool = False
    axis: str = ""
    sync_bn: bool = False
    bn_group_size: int = 0
    frozen_norms: frozenset[str] = frozenset()
    platform: str = ""
    remat: str = "none"

    @property
    def saves_bytes(self) -> bool:
        """Whether training computes more in order to move fewer bytes: on GPUs alone.

        There it is 3 to 35 % fewer. XLA's compiler for TPUs fuses the plain form of RegNets better:
        RegNetZ-500MF moves 26 % more on a v5e with the other one. On a CPU operations take longer.
        Frozen norms keep the plain form.
        """
        return (self.platform or jax.default_backend()) in GPUS

    def within(self, name: str) -> "Computation":
        """Returns the settings of a part of the network, whose layers go by their names in it.

        Args:
            name: of the part, as `s2.b1`.
        """
        inner = (x.removeprefix(f"{name}.") for x in self.frozen_norms if x.startswith(f"{name}."))
        return dataclasses.replace(self, frozen_norms=frozenset(inner))


def check_settings(computation: Computation) -> None:
    """Raises ValueError for an unknown `remat` or `platform`."""
    for name, choices in (("remat", REMATS), ("platform", PLATFORMS)):
        value = getattr(computation, name)
        if value not in choices:
            offered = ", ".join(filter(None, choices))
            raise ValueError(f"unknown {name} {value!r}; choose one of {offered}")


def image_keys(key: Array, images: int, axis: str = "") -> Array:
    """Returns a key for each image of a batch, the same for any number of devices.

    Args:
        key: of the batch.
        images: on this device.
        axis: as `Computation.axis`.

    Returns:
        Keys `[images]`.
    """
    first = lax.axis_index(axis) * images if axis else 0
    return jax.vmap(random.fold_in, (None, 0))(key, first + jnp.arange(images))
