"""Sums over devices, in one vector, in several vectors, or matrix by matrix.

The forms give the same sums, up to the order of additions. The form for each platform was chosen by
the schedules and bytes of compiled programs (docs/scale-out.md); they were not timed on devices.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

Tree = Any  # of arrays

FORMS = {"gpu": "parts", "tpu": "matrices"}  # by platform; others: "one"

# XLA for GPUs combines all-reduces up to 30 MiB. Two parts are larger, so they stay separate.
PART_BYTES = 16_000_000


def summed(tree: Tree, axis: str, platform: str) -> Tree:
    """Returns the sums over a mesh axis, inside `shard_map`.

    - `one`: all arrays are concatenated and summed at once.
    - `parts`: concatenated vectors of at least `PART_BYTES`, in the order in which the backward
      pass completes them, so that all sums but the last overlap with it. A small tree is one part.
    - `matrices`: arrays with two or more dimensions are summed one by one, because TPUs store them
      in tiles; XLA combines these reductions. All other arrays are concatenated.

    Args:
        tree: a tree of arrays; integers are exact below 2^24.
        axis: name of the mesh axis.
        platform: platform of the devices.
    """
    form = FORMS.get(platform, "one")
    paths, structure = jax.tree.flatten_with_path(tree)
    leaves = [leaf for _, leaf in paths]
    if form == "matrices":
        groups = [[i] for i, x in enumerate(leaves) if x.ndim > 1]
        groups.append([i for i, x in enumerate(leaves) if x.ndim <= 1])
    elif form == "parts":
        order = sorted(range(len(leaves)), key=lambda i: _completion(paths[i][0]))
        groups = in_parts(order, [4 * x.size for x in leaves])
    else:
        groups = [list(range(len(leaves)))]
    for group in groups:
        for i, x in zip(group, _together([leaves[i] for i in group], axis), strict=True):
            leaves[i] = x
    return jax.tree.unflatten(structure, leaves)


def in_parts(order: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Returns groups of arrays, each of at least `PART_BYTES` if there are several.

    Args:
        order: indices of arrays.
        sizes: size of each array, in bytes.
    """
    groups: list[list[int]] = [[]]
    for i in order:
        if sum(sizes[j] for j in groups[-1]) >= PART_BYTES:
            groups.append([])
        groups[-1].append(i)
    if len(groups) > 1 and sum(sizes[i] for i in groups[-1]) < PART_BYTES:
        rest = groups.pop()
        groups[-1] += rest
    return groups


def _together(arrays: list[Array], axis: str) -> list[Array]:
    if len(arrays) == 1 and arrays[0].ndim > 1:
        return [lax.psum(arrays[0], axis)]
    flat, restored = ravel_pytree(arrays)
    return restored(lax.psum(flat, axis))


def _completion(path: tuple[Any, ...]) -> tuple[int, list[int]]:
    """Sort key of a network's arrays, from the head to the stem; other arrays come last."""
    names = [str(x.key) for x in path if isinstance(x, jax.tree_util.DictKey)]
    if not names:
        return 3, []
    if names[0] in ("head", "stem"):
        return (0 if names[0] == "head" else 2), []
    return 1, [-int(number) for name in names[:2] for number in re.findall(r"\d+", name)]
