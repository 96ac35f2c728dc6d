"""Every implementation of the grouped conv against PyTorch's, with its gradients, and XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastscale_jax.models import grouped_conv
from fastscale_jax.models.grouped_conv import IMPLEMENTATIONS

# (kernel, stride, groups, c_in, c_out, height, width)
DENSE = [(1, 2, 1, 5, 3, 6, 7), (3, 1, 1, 3, 5, 5, 6), (7, 2, 1, 3, 4, 9, 8)]
GROUPED = [
    (3, 1, 2, 8, 8, 5, 7),
    (3, 2, 3, 6, 12, 7, 6),
    (5, 2, 4, 8, 4, 6, 6),
    (1, 1, 2, 6, 4, 3, 3),
]
DEPTHWISE = [
    (1, 1, 4, 4, 4, 3, 5),
    (3, 2, 6, 6, 6, 7, 8),
    (5, 1, 3, 3, 3, 1, 4),
    (7, 2, 4, 4, 4, 5, 5),
]
CASES = [
    (implementation, *case)
    for implementation in IMPLEMENTATIONS
    for case in (DEPTHWISE if implementation == "shift" else DENSE + GROUPED + DEPTHWISE)
]


def tensors(kernel, stride, groups, c_in, c_out, height, width):
    """Images, filters, and a gradient of the result, drawn at random in float64."""
    draw = np.random.default_rng(0).standard_normal
    out = -(-height // stride), -(-width // stride)
    return (
        draw((2, height, width, c_in)),
        draw((kernel, kernel, c_in // groups, c_out)),
        draw((2, *out, c_out)),
    )


def by_torch(x, kernel, gradient, stride, groups):
    """PyTorch's result and its gradients, in our layout."""
    image = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    weight = torch.tensor(kernel.transpose(3, 2, 0, 1), requires_grad=True)
    pad = (kernel.shape[0] - 1) // 2
    result = F.conv2d(image, weight, stride=stride, padding=pad, groups=groups)
    result.backward(torch.tensor(gradient.transpose(0, 3, 1, 2)))
    assert image.grad is not None
    assert weight.grad is not None
    return (
        result.detach().numpy().transpose(0, 2, 3, 1),
        image.grad.numpy().transpose(0, 2, 3, 1),
        weight.grad.numpy().transpose(2, 3, 1, 0),
    )


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def with_gradients(x, kernel, gradient, stride, groups, implementation):
    conv = functools.partial(
        grouped_conv, stride=stride, groups=groups, implementation=implementation
    )
    result, pull_back = jax.vjp(conv, x, kernel)
    return result, *pull_back(gradient)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_result_and_gradients_are_pytorch_s(case):
    implementation, *sizes = case
    stride, groups = sizes[1:3]
    arrays = tensors(*sizes)
    with jax.enable_x64(True):
        got = with_gradients(*arrays, stride, groups, implementation)
    for ours, theirs in zip(got, by_torch(*arrays, stride, groups), strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("implementation", ["im2col", "shift"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_low_precision_is_as_near_as_xla_s_own(implementation, dtype):
    sizes = DEPTHWISE[1]
    stride, groups = sizes[1:3]
    exact = by_torch(*tensors(*sizes), stride, groups)
    arrays = [jnp.asarray(x, dtype) for x in tensors(*sizes)]
    ours = with_gradients(*arrays, stride, groups, implementation)
    xla = with_gradients(*arrays, stride, groups, "lax")
    steps = float(jnp.finfo(dtype).eps)
    for got, other, wanted in zip(ours, xla, exact, strict=True):
        assert got.dtype == other.dtype == dtype
        error = np.abs(np.asarray(got, np.float64) - wanted).max()
        xla_error = np.abs(np.asarray(other, np.float64) - wanted).max()
        assert error <= 2 * xla_error + 4 * steps * np.abs(wanted).max()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_vmap_convolves_each_stack_of_images_on_its_own(implementation):
    x, kernel, _ = (jnp.asarray(a, jnp.float32) for a in tensors(*DEPTHWISE[1]))
    conv = functools.partial(
        grouped_conv, kernel=kernel, stride=2, groups=6, implementation=implementation
    )
    stacks = jnp.stack([x, x[::-1] * 2])
    np.testing.assert_allclose(
        jax.vmap(conv)(stacks), [conv(stack) for stack in stacks], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("kernel_shape", "groups", "implementation", "message"),
    [
        ((3, 3, 4, 8), 1, "lax", "does not fit 1 groups of an input with 8 channels"),
        ((3, 3, 4, 9), 2, "lax", "does not fit 2 groups"),
        ((3, 3, 8, 8), 1, "shift", "'shift' is for depthwise convs; got 1 groups of 8"),
        ((3, 3, 1, 16), 8, "shift", "'shift' is for depthwise convs"),
        ((3, 3, 8, 8), 1, "fast", "unknown implementation 'fast'; choose one of auto, lax"),
    ],
)
def test_what_does_not_fit_is_refused(kernel_shape, groups, implementation, message):
    with pytest.raises(ValueError, match=message):
        grouped_conv(
            jnp.zeros((1, 5, 5, 8)),
            jnp.zeros(kernel_shape),
            groups=groups,
            implementation=implementation,
        )
