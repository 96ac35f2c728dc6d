"""PyTorch's opinion of convolutions."""

import numpy as np
import torch
import torch.nn.functional as F

from fastscale_jax.convs.conv_shape import ConvShape
from tests.convs import pads


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
