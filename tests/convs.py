"""Convolutions of noise, and XLA's opinion of them."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from fastscale_jax.convs.conv_shape import ConvShape
from tests.compiler import QUICKLY


def noise(*sizes: tuple[int, ...]) -> list[np.ndarray]:
    """Normal noise in float64, the same in every run."""
    draw = np.random.default_rng(0).standard_normal
    return [draw(size) for size in sizes]


def operands(shape: ConvShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, filters, and a gradient of the result."""
    x, kernel, dy = noise(shape.x, shape.filters, shape.y)
    return x, kernel, dy


def pads(shape: ConvShape) -> Sequence[tuple[int, ...]]:
    """Zeros before and after each direction; of `same`, as JAX's own rule has it."""
    if shape.padding == "symmetric":
        return [((shape.kernel - 1) // 2,) * 2] * 2
    sides, kernel, strides = shape.x[1:3], shape.filters[:2], (shape.stride,) * 2
    return lax.padtype_to_pads(sides, kernel, strides, "SAME")


def by_xla(
    x: np.ndarray, kernel: np.ndarray, gradient: np.ndarray, shape: ConvShape
) -> list[np.ndarray]:
    """The result and both gradients by XLA's own convolution, in float64."""

    def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(shape.stride,) * 2,
            padding=pads(shape),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=shape.groups,
        )

    def conv_and_gradients(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> Any:
        result, pull_back = jax.vjp(conv, x, kernel)
        return result, *pull_back(gradient)

    with jax.enable_x64(True):
        results = jax.jit(conv_and_gradients, compiler_options=QUICKLY)(x, kernel, gradient)
        return [np.asarray(a) for a in results]


def assert_close(got: Iterable[Any], wanted: Iterable[Any], tolerance: float) -> None:
    """Compares arrays, one by one, to a share of the largest magnitude of each."""
    for ours, theirs in zip(got, wanted, strict=True):
        theirs = np.asarray(theirs, np.float64)
        np.testing.assert_allclose(
            np.asarray(ours, np.float64),
            theirs,
            rtol=tolerance,
            atol=tolerance * np.abs(theirs).max(),
        )


def shape_id(shape: ConvShape) -> str:
    """A test's name for a shape: 2x5x7x8-8-g2-k3-s1."""
    sizes = "x".join(map(str, shape.x))
    padding = "" if shape.padding == "symmetric" else f"-{shape.padding}"
    return f"{sizes}-{shape.c_out}-g{shape.groups}-k{shape.kernel}-s{shape.stride}{padding}"
