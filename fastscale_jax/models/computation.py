"""How a network is computed, wherever that leaves open what it computes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax, random

Dtype = Any


@dataclasses.dataclass(frozen=True)
class Computation:
    """How a network is computed.

    Attributes:
        dtype: of the computation; parameters are float32.
        implementation: of `grouped_conv`, for the spatial convs.
        scan_blocks: compile the blocks of a stage that are alike once, and loop over them.
        axis: of a mesh of devices, that a batch is shared out along, inside `shard_map`; empty: the
            batch is whole.
        sync_bn: BatchNorm's statistics are those of all devices' images, not of each one's.
        bn_group_size: they are of so many images each, the first, the next and so on; 0: of all.
    """

    dtype: Dtype = jnp.float32
    implementation: str = "auto"
    scan_blocks: bool = False
    axis: str = ""
    sync_bn: bool = False
    bn_group_size: int = 0


def image_keys(key: Array, images: int, axis: str = "") -> Array:
    """Returns a key for each image of a batch, the same on however many devices the batch lies.

    Args:
        key: of the batch.
        images: that there are here.
        axis: as `Computation.axis`.

    Returns:
        Keys `[images]`.
    """
    first = lax.axis_index(axis) * images if axis else 0
    return jax.vmap(random.fold_in, (None, 0))(key, first + jnp.arange(images))
