"""A device's peak rates, and the least possible time of a step by the roofline model."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastscale_jax.arch import Complexity
from fastscale_jax.measure.timing import sample

# Reads and writes of a conv's output, if each conv is one kernel and all else is fused into it.
# Forward: written once (BatchNorm's sums are fused), read once by the next conv.
INFERENCE_PASSES = 2
# Backward, 4: the output's gradient is written, and the output read for BatchNorm's two sums; then
# the conv's gradients, which need these sums, read both again.
TRAINING_PASSES = INFERENCE_PASSES + 4
# Reads and writes of each float32 parameter: read forward and backward, and written once; its
# gradient and momentum read and written.
TRAINING_PARAM_PASSES = 7


class Ceilings(NamedTuple):
    """The peak rates of one device."""

    flops: float  # per second; a multiply-add counts as two
    memory: float  # bytes per second
    origin: str  # source of the rates


def ceilings(dtype: str) -> Ceilings:
    """Returns the measured peak rates of this machine's device in a dtype.

    They are the best over a few sizes, because a ceiling is the best possible rate.
    """
    is_cpu = jax.default_backend() == "cpu"
    sides, sizes = ((1024, 2048), (2**28,)) if is_cpu else ((4096, 8192), (2**28,))
    key = jax.random.key(0)
    flops, memory = [], []
    for side in sides:
        x = jax.random.normal(key, (side, side), jnp.dtype(dtype))
        flops.append(2 * side**3 / _fastest(jax.jit(jnp.matmul), x, x))
    for size in sizes:
        x = jnp.ones(size // 4, jnp.float32)
        memory.append(2 * size / _fastest(jax.jit(lambda x: x + 1), x))
    return Ceilings(max(flops), max(memory), "measured just now: a product of matrices, and a copy")


def _fastest(function: Callable[..., Any], *args: Any) -> float:
    return sample(lambda: function(*args), noise=math.inf, least=0.5).least


class Floor(NamedTuple):
    """The least possible time of a program, in seconds."""

    operations: float  # seconds for the operations alone
    bytes: float  # seconds for the memory traffic alone

    @property
    def seconds(self) -> float:
        """The larger of the two."""
        return max(self)

    @property
    def bound(self) -> str:
        """Which of the two is larger."""
        return "operations" if self.operations >= self.bytes else "memory"


def floor(cost: Complexity, images: int, itemsize: int, of: Ceilings, *, training: bool) -> Floor:
    """Returns the least time of a step or an evaluation on one device.

    Args:
        cost: the network's cost for one image.
        images: number of images on the device.
        itemsize: bytes per element of the computation's dtype.
        of: peak rates of the device.
        training: a training step, with gradients, which cost two more forward passes.
    """
    operations = 2 * cost.flops * images * (3 if training else 1)
    moved = cost.acts * images * itemsize * (TRAINING_PASSES if training else INFERENCE_PASSES)
    moved += cost.params * (4 * TRAINING_PARAM_PASSES if training else itemsize)
    return Floor(operations / of.flops, moved / of.memory)
