"""Detects NaN or infinite losses and weights."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fastscale_jax.utils.compiling import hasty
from fastscale_jax.utils.host_arrays import on_host


class DivergenceError(Exception):
    """The loss of a step, or a weight after it, is NaN or infinite."""

    def __init__(self, step: int, message: str) -> None:
        """Stores the step, counted from 1, and the message."""
        super().__init__(message)
        self.step = step


def is_finite(tree: Any) -> bool:
    """Returns whether all numbers in a tree of arrays are finite."""
    leaves = jax.tree.leaves(tree)
    host_arrays = [on_host(leaf) for leaf in leaves]
    sharded = [leaf for leaf, x in zip(leaves, host_arrays, strict=True) if x is None]
    # always computed: all hosts that share a sharded array must take part
    are_sharded_finite = not sharded or bool(_on_devices()(sharded))
    return are_sharded_finite and all(np.isfinite(x).all() for x in host_arrays if x is not None)


@functools.cache
def _on_devices() -> Callable[[list[Array]], Array]:
    def is_finite(arrays: list[Array]) -> Array:
        return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in arrays]))

    return jax.jit(is_finite, compiler_options=hasty())


class LossWatch:
    """Checks a step's loss only after the next step has started, so that the device never waits."""

    def __init__(self) -> None:
        """Starts without a loss to check."""
        self._latest: tuple[int, Array] | None = None

    def add(self, step: int, loss: Array) -> None:
        """Takes the loss of a step, and checks the loss of the step before.

        Raises:
            DivergenceError: the loss of the step before is not finite.
        """
        self.catch_up()
        self._latest = step, loss

    def catch_up(self) -> None:
        """Checks the last loss; call it before that step's state is used.

        Raises:
            DivergenceError: it is not finite.
        """
        if self._latest is not None:
            step, loss = self._latest
            self._latest = None
            if not math.isfinite(value := float(loss)):
                raise DivergenceError(step, f"the loss is {value} at step {step}")
