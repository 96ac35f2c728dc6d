"""The factor of the loss in float16; it keeps small gradients above 0 (arXiv:1710.03740)."""

from typing import Self

import jax.numpy as jnp
from flax import struct
from jax import Array

_FIRST = 2.0**16
_STEPS_TO_GROW = 2000  # without an overflow
_LEAST, _MOST = 2.0**-14, 2.0**24  # float32 represents gradients scaled by these


class LossScale(struct.PyTreeNode):
    """A scale that halves when gradients overflow, and doubles after many steps without overflow.

    Flax's `DynamicScale` checks for overflow when it differentiates. Here the check is made once
    for all devices and all parts of a batch, after gradients are averaged.
    """

    scale: Array  # float32
    steps: Array  # int32, steps since the last change

    @classmethod
    def first(cls) -> Self:
        """Returns the scale before the first step."""
        return cls(jnp.float32(_FIRST), jnp.int32(0))

    def after(self, is_finite: Array) -> "LossScale":
        """Returns the scale after a step; `is_finite`: whether its gradients were."""
        grows = is_finite & (self.steps + 1 == _STEPS_TO_GROW)
        grown = jnp.where(grows, jnp.minimum(2 * self.scale, _MOST), self.scale)
        return LossScale(
            scale=jnp.where(is_finite, grown, jnp.maximum(self.scale / 2, _LEAST)),
            steps=jnp.where(grows | ~is_finite, 0, self.steps + 1),
        )
