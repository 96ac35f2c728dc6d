"""Counts avoidable bytes: those that a better program for the same network would not move."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastscale_jax.cost.hlo_text import Array
from fastscale_jax.targets.kernel_products import FORWARD, PRODUCTS
from fastscale_jax.targets.kernel_runs import Flow, Key
from fastscale_jax.targets.kernel_traffic import Access, Dilation

HALF = ("bf16", "f16")


class Moved(NamedTuple):
    """The fields of one kernel that this module uses."""

    kind: str
    accesses: list[Access]
    times: int
    flow: Flow  # of its traced name
    opcodes: frozenset[str]  # operations inside
    dilations: Mapping[Key, Dilation]  # of what it writes


def avoidable(kernels: Sequence[Moved]) -> dict[str, int]:
    """Returns avoidable bytes by their cause.

    - `full-size float32`: half of the bytes of float32 arrays with as many elements as an
      activation map, in all kernels outside of the optimiser. Activation maps are the 16-bit
      results of the forward pass's convs and products; a float32 program has none.
    - `statistics read twice`: bytes of activation maps that kernels read for BatchNorm's sums,
      without the first such kernel of each map, counted separately for the forward and the backward
      pass. The first is not counted, although a conv could have computed the sums.
    - `lane padding`: bytes of tiles beyond their elements, on TPUs.
    - `zero dilation`: bytes of zeros between and around the elements of a strided conv's gradient,
      in the kernel that writes them and in those that read them.
    - `copies`: bytes of all copy kernels, except those that write such zeros.

    Bytes with two causes count in both, such as the copy of a float32 array.

    Args:
        kernels: all kernels of a program.
    """
    maps = _map_sizes(kernels)
    return {
        "full-size float32": sum(_float32(x, maps) * x.times for x in kernels),
        "statistics read twice": _read_twice(kernels, maps),
        "lane padding": sum(_padding(x) * x.times for x in kernels),
        "zero dilation": _dilated(kernels),
        "copies": sum(_bytes(x) * x.times for x in kernels if _is_copy(x)),
    }


def _bytes(x: Moved) -> int:
    return sum(access.bytes for access in x.accesses)


def _is_copy(x: Moved) -> bool:
    return x.kind == "copies" and not x.dilations


def _map_sizes(kernels: Sequence[Moved]) -> set[int]:
    """Elements of the activation maps."""
    return {
        access.array.elements
        for x in kernels
        if x.kind in (FORWARD, PRODUCTS) and Flow.BACKWARD not in x.flow
        for access in x.accesses
        if access.is_write and access.array.dtype in HALF
    }


def _float32(x: Moved, maps: set[int]) -> int:
    if x.kind == "optimiser":
        return 0
    return sum(
        access.bytes // 2
        for access in x.accesses
        if access.array.dtype == "f32" and access.array.elements in maps
    )


def _read_twice(kernels: Sequence[Moved], maps: set[int]) -> int:
    reads: dict[tuple[Key, bool], list[int]] = defaultdict(list)
    for x in kernels:
        if x.kind == "batchnorm" and "reduce" in x.opcodes:
            for access in x.accesses:
                if not access.is_write and access.array.elements in maps:
                    where = access.key, Flow.BACKWARD in x.flow
                    reads[where].append(access.bytes * x.times)
    return sum(sum(sizes[1:]) for sizes in reads.values())


def _padding(x: Moved) -> int:
    return sum(access.bytes - _unpadded(access.bytes, access.array) for access in x.accesses)


def _unpadded(size: int, array: Array) -> int:
    return round(size * array.bytes / array.padded_bytes) if array.padded_bytes else size


def _dilated(kernels: Sequence[Moved]) -> int:
    known = {key: dilation for x in kernels for key, dilation in x.dilations.items()}
    return sum(
        round(access.bytes * (1 - known[access.key].share)) * x.times
        for x in kernels
        for access in x.accesses
        if access.key in known
    )
