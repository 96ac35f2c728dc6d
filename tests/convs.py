"""Convolutions of noise, and PyTorch's opinion of them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jax import lax

from fastscale_jax.convs.conv_shape import ConvShape


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


def torch_conv(x: torch.Tensor, kernel: torch.Tensor, shape: ConvShape) -> torch.Tensor:
    """PyTorch's convolution of what is in our layout, and so are its gradients."""
    image, weight = x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1)
    rows, columns = pads(shape)
    image = F.pad(image, (*columns, *rows))
    y = F.conv2d(image, weight, stride=shape.stride, groups=shape.groups)
    return y.permute(0, 2, 3, 1)


def by_torch(
    x: np.ndarray, kernel: np.ndarray, gradient: np.ndarray, shape: ConvShape
) -> list[np.ndarray]:
    """PyTorch's result and its gradients, in our layout."""
    given = torch.tensor(x, requires_grad=True), torch.tensor(kernel, requires_grad=True)
    result = torch_conv(*given, shape)
    slopes = torch.autograd.grad(result, given, torch.tensor(gradient))
    return [a.detach().numpy() for a in (result, *slopes)]


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
