"""The network of an `Architecture`, in PyTorch.

Modules bear the names of the paper's reference code, so that its checkpoints load with
`load_state_dict(strict=True)`. Needs the extra `torch`; elsewhere in the package only
`interop.files` asks for PyTorch, when it meets one of its files.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fastscale_jax.arch import Architecture, BlockShape, as_architecture
from fastscale_jax.convs.conv_shape import SAME, padding_of
from fastscale_jax.interop.weights import to_pycls

# names of the 1x1 expansion, the spatial conv and the last 1x1; `_bn` makes their BatchNorm's
_BOTTLENECK_CONVS = ("a", "b", "c")
_MBCONV_CONVS = ("exp", "dwise", "lin_proj")


def build(config: ConfigDict | Mapping[str, object] | Architecture) -> "Twin":
    """Returns the network that a config describes, with fresh weights, in channels_last.

    Args:
        config: the fields of `config.model`, or an `Architecture`; not modified.

    Raises:
        ValueError: the config does not describe a network.
    """
    return Twin(as_architecture(config)).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def twin(
    config: ConfigDict | Mapping[str, object] | Architecture,
    variables: Mapping[str, Any] | None = None,
    *,
    channels: str = "RGB",
) -> "Twin":
    """Returns the network that a config describes, for inference, with the weights of ours.

    Args:
        config: as in `build`.
        variables: of our network; None: fresh ones.
        channels: order in the images that it takes: `RGB`, as our networks; or `BGR`, as the
            reference's.

    Raises:
        ValueError: the variables are not those of the network, or an unknown order.
    """
    if channels not in ("RGB", "BGR"):
        raise ValueError(f"channels must be RGB or BGR; got {channels!r}")
    result = build(config).eval()
    if variables is not None:
        state = {k: torch.from_numpy(x) for k, x in to_pycls(config, variables).items()}
        if channels == "RGB":
            state["stem.conv.weight"] = state["stem.conv.weight"].flip(1)
        result.load_state_dict(state, strict=False)  # without BatchNorm's counters
    return result


def fused(twin: "Twin") -> "Twin":
    """Returns a copy for inference, in which each BatchNorm is folded into the conv before it."""
    copied = copy.deepcopy(twin).eval()
    for module in list(copied.modules()):
        for conv, norm in _conv_norm_names(module):
            folded = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
            setattr(module, conv, folded)
            setattr(module, norm, nn.Identity())
    return copied


def parameter_groups(twin: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Returns the parameters as an optimiser takes them: BatchNorm's are not decayed."""
    norms = [p for m in twin.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    is_norm = {id(parameter) for parameter in norms}
    others = [parameter for parameter in twin.parameters() if id(parameter) not in is_norm]
    return [
        {"params": others, "weight_decay": weight_decay},
        {"params": norms, "weight_decay": 0.0},
    ]


class Twin(nn.Module):
    """Images to logits.

    The images are `[batch, 3, h, w]`, normalised, with their channels in the order that the weights
    were made for: the reference's, and `interop.weights.to_pycls`'s, want BGR.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.stem = Stem(a)
        stages: dict[str, nn.Sequential] = {}
        for (name, shape), rate in zip(a.blocks(), a.drop_rates(), strict=True):
            stage, block = name.split(".")
            stages.setdefault(stage, nn.Sequential()).add_module(block, _block(a, shape, rate))
        self.stages = list(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.head = Head(a)
        self.apply(_init)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to logits `[batch, num_classes]`."""
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.head(x)


class Stem(nn.Module):
    """The first conv, and the pooling of a ResNet."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.pools, self.padding = a.stem == "conv7x7_pool", a.padding
        self.conv = _conv(a, 3, a.stem_width, 7 if self.pools else 3, stride=2)
        self.bn = nn.BatchNorm2d(a.stem_width, a.bn_eps)
        self.activation = Activation(a.activation)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, 3, h, w]` to `[batch, c, h/2, w/2]`, or `h/4` with pooling."""
        x = self.activation(self.bn(self.conv(x)))
        if not self.pools:
            return x
        if self.padding == "same":
            return F.max_pool2d(_padded(x, 3, 2, -math.inf), 3, 2)
        return F.max_pool2d(x, 3, 2, 1)


class Branch(nn.Module):
    """The residual branch of any block: [1x1], spatial conv, [SE], 1x1, each with BatchNorm."""

    def __init__(self, a: Architecture, shape: BlockShape, names: tuple[str, str, str]) -> None:
        super().__init__()
        self.eps = a.bn_eps
        self.names = names if shape.has_expansion else names[1:]
        c_in, c_mid, c_out = shape.c_in, shape.c_mid, shape.c_out
        expand, spatial, project = names
        if shape.has_expansion:
            self._add(expand, _conv(a, c_in, c_mid, 1))
        self._add(spatial, _conv(a, c_mid, c_mid, shape.kernel, shape.stride, shape.groups))
        self.se = SqueezeExcite(c_mid, shape.c_se, a.activation) if shape.c_se else None
        self._add(project, _conv(a, c_mid, c_out, 1))
        self.activation = Activation(a.activation)

    def _add(self, name: str, conv: nn.Conv2d) -> None:
        self.add_module(name, conv)
        self.add_module(f"{name}_bn", nn.BatchNorm2d(conv.out_channels, self.eps))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c_in, h, w]` to `[batch, c_out, h/stride, w/stride]`."""
        *inner, last = self.names
        for name in inner:
            x = self.activation(self._normed(name, x))
        if self.se is not None:
            x = self.se(x)
        return self._normed(last, x)

    def _normed(self, name: str, x: Tensor) -> Tensor:
        return getattr(self, f"{name}_bn")(getattr(self, name)(x))


class Bottleneck(nn.Module):
    """A block whose skip may be projected, or missing, activated at the end or not."""

    def __init__(self, a: Architecture, shape: BlockShape, drop_rate: float) -> None:
        super().__init__()
        self.proj = self.bn = None
        if shape.has_projection:
            self.proj = _conv(a, shape.c_in, shape.c_out, 1, shape.stride)
            self.bn = nn.BatchNorm2d(shape.c_out, a.bn_eps)
        self.f = Branch(a, shape, _BOTTLENECK_CONVS)
        self.has_skip = shape.has_skip
        self.drop_rate = drop_rate
        self.activation = Activation(a.activation) if shape.kind == "bottleneck" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c_in, h, w]` to `[batch, c_out, h/stride, w/stride]`."""
        if not self.has_skip:
            return self.activation(self.f(x))
        skip = x if self.proj is None or self.bn is None else self.bn(self.proj(x))
        return self.activation(_add(_dropped(self.f(x), self.drop_rate, self.training), skip))


class MBConv(Branch):
    """An inverted bottleneck, whose layers are the block's own."""

    def __init__(self, a: Architecture, shape: BlockShape, drop_rate: float) -> None:
        super().__init__(a, shape, _MBCONV_CONVS)
        self.has_skip = shape.has_skip
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c_in, h, w]` to `[batch, c_out, h/stride, w/stride]`."""
        branch = super().forward(x)
        if not self.has_skip:
            return branch
        return _add(_dropped(branch, self.drop_rate, self.training), x)


class SqueezeExcite(nn.Module):
    """Scales each channel by what the whole image says of it (arXiv:1709.01507)."""

    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        self.f_ex = nn.Sequential(
            nn.Conv2d(width, inner, 1),
            Activation(activation),
            nn.Conv2d(inner, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c, h, w]` to the same shape."""
        return x * self.f_ex(x.mean((2, 3), keepdim=True))


class Head(nn.Module):
    """[1x1 conv], global average pooling, dropout, and the classifier."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        width = a.stages[-1].width
        self.conv = None
        if a.head_width:
            self.conv = _conv(a, width, a.head_width, 1)
            self.norm_name = "conv_bn" if a.block == "mbconv" else "bn"
            self.add_module(self.norm_name, nn.BatchNorm2d(a.head_width, a.bn_eps))
            self.activation = Activation(a.activation)
            width = a.head_width
        self.dropout = a.dropout
        self.fc = nn.Linear(width, a.num_classes) if a.num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c, h, w]` to logits `[batch, num_classes]`."""
        if self.conv is not None:
            x = self.activation(getattr(self, self.norm_name)(self.conv(x)))
        x = x.mean((2, 3))
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        return self.fc(x)


class Activation(nn.Module):
    """ReLU, ReLU6 or SiLU, in place where that saves memory."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Maps any shape to the same; `x` may be overwritten."""
        if self.name == "relu":
            return F.relu(x, inplace=True)
        if self.name == "relu6":
            return F.relu6(x, inplace=True)
        # SiLU's gradient needs its input: in place, autograd would copy it first
        return F.silu(x, inplace=not torch.is_grad_enabled())


class SameConv(nn.Conv2d):
    """A conv padded as TensorFlow's `same` does: the zeros depend on the image's size."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 # PyTorch's name
        """Maps `[batch, c_in, h, w]` to `[batch, c_out, ceil(h/stride), ceil(w/stride)]`."""
        return super().forward(_padded(input, self.kernel_size[0], self.stride[0], 0.0))


def _block(a: Architecture, shape: BlockShape, drop_rate: float) -> nn.Module:
    kind = MBConv if shape.kind == "mbconv" else Bottleneck
    return kind(a, shape, drop_rate)


def _conv(
    a: Architecture, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    if a.padding == "same" and stride > 1 and kernel > 1:
        return SameConv(c_in, c_out, kernel, stride, groups=groups, bias=False)
    padding = (kernel - 1) // 2
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups, bias=False)


def _padded(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    """Pads as TensorFlow's `same` does."""
    rows, columns = (padding_of(side, kernel, stride, SAME) for side in x.shape[2:])
    return F.pad(x, (*columns, *rows), value=value)


def _add(branch: Tensor, skip: Tensor) -> Tensor:
    # no layer needs what the branch's last BatchNorm gave, so the sum may take its place
    return branch.add_(skip)


def _dropped(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Drops the branch for whole images, and scales up what is kept (arXiv:1603.09382)."""
    if not training or not rate:
        return branch
    keep = 1 - rate
    kept = branch.new_empty(branch.shape[0], 1, 1, 1).bernoulli_(keep)
    return branch * kept.div_(keep)


def _init(module: nn.Module) -> None:
    """Draws initial weights as the Flax network does.

    BatchNorm's are 1 and 0 already, and squeeze-and-excitation keeps PyTorch's biases.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def _conv_norm_names(module: nn.Module) -> list[tuple[str, str]]:
    """Returns the (conv, BatchNorm) pairs among a module's own children."""
    if isinstance(module, Branch):
        return [(name, f"{name}_bn") for name in module.names]
    if isinstance(module, Bottleneck) and module.proj is not None:
        return [("proj", "bn")]
    if isinstance(module, Stem):
        return [("conv", "bn")]
    if isinstance(module, Head) and module.conv is not None:
        return [("conv", module.norm_name)]
    return []
