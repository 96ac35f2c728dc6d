"""All devices of all hosts in a row, and the sharding of a run's arrays.

A batch is cut into equal parts, one per device; all else is replicated. A step computes with
`shard_map`, so that BatchNorm is each device's own, and values that devices must agree on are
summed in one reduction or a few.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fastscale_jax.distributed.reductions import summed
from fastscale_jax.utils.varying import varying_alike

Tree = Any  # of arrays

AXIS = "data"  # the mesh has no other

ON_ALL, SHARED_OUT = PartitionSpec(), PartitionSpec(AXIS)


def device_mesh(devices: list[Any] | None = None) -> Mesh:
    """Returns devices in a row; by default all devices of all hosts, host by host."""
    if devices is None:
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (AXIS,))


def this_host() -> dict[str, int]:
    """Returns which share of a batch this host reads, as `data.pipeline` takes it."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def on_each_device(
    function: Callable[..., Any], mesh: Mesh, specs: tuple[PartitionSpec, ...], out: Any
) -> Callable[..., Any]:
    """Returns a function of whole arrays that each device computes with its part of them.

    Args:
        function: of the parts.
        mesh: of devices.
        specs: `ON_ALL` or `SHARED_OUT`, of each argument.
        out: likewise, of the result.
    """
    # JAX checks that replicated results are equal on all devices; with one device there is no need
    checks = mesh.size > 1
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out, check_vma=checks)


def own(tree: Tree) -> Tree:
    """Returns replicated arrays as varying over devices, inside `on_each_device`.

    Values computed from them, such as gradients, vary too: only `agreed` sums them.
    """
    index = lax.axis_index(AXIS)
    return jax.tree.map(lambda x: varying_alike(x, index)[0], tree)


def agreed(means: Tree, sums: Tree, *, platform: str = "") -> tuple[Tree, Tree]:
    """Returns means and sums over all devices, inside `on_each_device`.

    Args:
        means: of float arrays.
        sums: of arrays; integers stay exact below 2^24.
        platform: of the devices, which decides the form (`reductions.summed`); by default it is
            one reduction.
    """
    devices = lax.axis_size(AXIS)
    if devices == 1:  # laying them end to end would cost a few percent of a step on a CPU
        return means, sums
    means, sums = summed((means, sums), AXIS, platform)
    return jax.tree.map(lambda x: x / devices, means), sums


def replicated(tree: Tree, mesh: Mesh) -> Tree:
    """Returns arrays that every host has, on every device."""
    sharding = NamedSharding(mesh, ON_ALL)

    def put(x: Any) -> Array:
        if isinstance(x, Array) and x.sharding.is_equivalent_to(sharding, x.ndim):
            return x
        if isinstance(x, Array) and not x.is_fully_addressable:
            return jax.jit(lambda x: x, out_shardings=sharding)(x)
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def shared_out(tree: Tree, mesh: Mesh) -> Tree:
    """Returns a batch on the devices, from the rows of it that this host has."""
    sharding = NamedSharding(mesh, SHARED_OUT)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def along_a_dimension(tree: Tree, mesh: Mesh) -> Any:
    """Returns shardings that cut each array along the first dimension that allows equal parts.

    Args:
        tree: of arrays, or of their shapes.
        mesh: of devices.

    Returns:
        A tree of shardings. An array without such a dimension is on all devices.
    """

    def along(x: Any) -> NamedSharding:
        for dimension, size in enumerate(x.shape):
            if size and size % mesh.size == 0:
                return NamedSharding(mesh, PartitionSpec(*[None] * dimension, AXIS))
        return NamedSharding(mesh, ON_ALL)

    return jax.tree.map(along, tree)
