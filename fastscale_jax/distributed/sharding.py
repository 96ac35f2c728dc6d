"""The mesh of all devices of all hosts, and the sharding of a run's arrays.

A batch is split into equal parts, one per device; other arrays are replicated. A step uses
`shard_map`, so BatchNorm is per device, and gradients and metrics are summed in one or a few
reductions.
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

AXIS = "data"  # the only axis of the mesh

ON_ALL, SHARED_OUT = PartitionSpec(), PartitionSpec(AXIS)


def device_mesh(devices: list[Any] | None = None) -> Mesh:
    """Returns a mesh with one axis; by default all devices of all hosts, host by host."""
    if devices is None:
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (AXIS,))


def this_host() -> dict[str, int]:
    """Returns this host's index and the number of hosts, as arguments for `data.pipeline`."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def on_each_device(
    function: Callable[..., Any], mesh: Mesh, specs: tuple[PartitionSpec, ...], out: Any
) -> Callable[..., Any]:
    """Returns a function of whole arrays; each device calls `function` with its parts of them.

    Args:
        function: function of the parts.
        mesh: the devices.
        specs: `ON_ALL` or `SHARED_OUT` for each argument.
        out: `ON_ALL` or `SHARED_OUT` for the result.
    """
    # JAX checks that replicated results are equal on all devices; one device needs no check
    checks = mesh.size > 1
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=out, check_vma=checks)


def own(tree: Tree) -> Tree:
    """Returns replicated arrays as varying over devices, inside `on_each_device`.

    Values computed from them, such as gradients, vary too, and only `agreed` sums them.
    """
    index = lax.axis_index(AXIS)
    return jax.tree.map(lambda x: varying_alike(x, index)[0], tree)


def agreed(means: Tree, sums: Tree, *, platform: str = "") -> tuple[Tree, Tree]:
    """Returns means and sums over all devices, inside `on_each_device`.

    Args:
        means: tree of float arrays to average.
        sums: tree of arrays to sum; integers are exact below 2^24.
        platform: platform of the devices, which selects the form in `reductions.summed`; by default
            one reduction.
    """
    devices = lax.axis_size(AXIS)
    if devices == 1:  # concatenation would cost a few percent of a step on a CPU
        return means, sums
    means, sums = summed((means, sums), AXIS, platform)
    return jax.tree.map(lambda x: x / devices, means), sums


def replicated(tree: Tree, mesh: Mesh) -> Tree:
    """Returns arrays, which every host has, replicated on every device."""
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
    """Returns a batch sharded over devices, from this host's rows."""
    sharding = NamedSharding(mesh, SHARED_OUT)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def along_a_dimension(tree: Tree, mesh: Mesh) -> Any:
    """Returns shardings that split each array along the first dimension with equal parts.

    Args:
        tree: tree of arrays, or of their shapes.
        mesh: the devices.

    Returns:
        A tree of shardings. An array without such a dimension is replicated.
    """

    def along(x: Any) -> NamedSharding:
        for dimension, size in enumerate(x.shape):
            if size and size % mesh.size == 0:
                return NamedSharding(mesh, PartitionSpec(*[None] * dimension, AXIS))
        return NamedSharding(mesh, ON_ALL)

    return jax.tree.map(along, tree)
