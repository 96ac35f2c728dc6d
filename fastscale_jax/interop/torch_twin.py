"""The network of an `Architecture`, in PyTorch.

Modules bear the names of the paper's reference code, so that its checkpoints load with
`load_state_dict(strict=True)`. Needs the extra `torch`; elsewhere in the package only
`interop.files` asks for PyTorch, when it meets one of its files.
"""

import copy
import json
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fastscale_jax.arch import Architecture, BlockShape, ConvSizes, as_architecture
from fastscale_jax.arch.blocks import FUSED
from fastscale_jax.convs.conv_shape import SAME, padding_of
from fastscale_jax.interop.claims import own_fields
from fastscale_jax.interop.torch_files import NOTE
from fastscale_jax.interop.weights import to_pycls

# of an mbconv's convs; `_bn` makes their BatchNorm's. The reference has no fused ones.
_MBCONV_NAMES = {"a": "exp", "b": "dwise", "c": "lin_proj"}
_FUSED_NAMES = {"b": "fused", "c": "lin_proj"}


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
        if channels == "RGB" and result.architecture.in_channels == 3:
            name = f"stem.{result.architecture.stem_convs[0].name}.weight"
            state[name] = state[name].flip(1)
        result.load_state_dict(state, strict=False)  # without BatchNorm's counters
    result.channels = channels
    return result


def fused(twin: "Twin") -> "Twin":
    """Returns a copy for inference, in which each BatchNorm is folded into the conv before it."""
    copied = copy.deepcopy(twin).eval()
    for module in [part for part in copied.modules() if isinstance(part, Normed)]:
        for conv, norm in module.norms.items():
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

    The images are `[batch, in_channels, h, w]`, normalised. Three channels are in the order of the
    weights' training: BGR for the reference's weights and those of `interop.weights.to_pycls`.
    The metadata of the state dict have a note of what no tensor shows, such as padding and channel
    order; `torch.save` keeps it and `interop.files` reads it. Loading a state dict with this note
    sets the order, and is refused if its network differs. Without the note, the order is unchanged.
    """

    # order in the images; the reference's, unless `twin` was asked for another
    channels: str = "BGR"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.register_state_dict_post_hook(_note)
        self.register_load_state_dict_pre_hook(_follow_note)
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


class Normed(nn.Module):
    """Convs by name, each with its BatchNorm."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.network = a
        self.norms: dict[str, str] = {}  # names of the BatchNorms, by conv
        self.activation = Activation(a.activation)

    def _add(self, name: str, norm: str, sizes: ConvSizes) -> None:
        self.norms[name] = norm
        self.add_module(name, _conv(self.network, sizes))
        self.add_module(norm, nn.BatchNorm2d(sizes.c_out, self.network.bn_eps))

    def _normed(self, name: str, x: Tensor) -> Tensor:
        return getattr(self, self.norms[name])(getattr(self, name)(x))


class Stem(Normed):
    """The first convs, and the pooling of a ResNet."""

    def __init__(self, a: Architecture) -> None:
        super().__init__(a)
        for sizes in a.stem_convs:
            self._add(sizes.name, sizes.name.replace("conv", "bn"), sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, in_channels, h, w]` to `[batch, c, h/2, w/2]`, or `h/4`."""
        for name in self.norms:
            x = self.activation(self._normed(name, x))
        if not self.network.pools:
            return x
        if self.network.padding == "same":
            return F.max_pool2d(_padded(x, 3, 2, -math.inf), 3, 2)
        return F.max_pool2d(x, 3, 2, 1)


class Branch(Normed):
    """The residual branch of any block: its convs, each with BatchNorm, and [SE]."""

    def __init__(self, a: Architecture, shape: BlockShape, names: Mapping[str, str]) -> None:
        super().__init__(a)
        self.convs: list[tuple[str, bool, bool]] = []  # name, is activated, SE follows
        for sizes in shape.convs:
            name = names.get(sizes.name, sizes.name)
            self._add(name, f"{name}_bn", sizes)
            is_excited = sizes.name == shape.excited
            self.convs.append((name, sizes.is_activated, is_excited))
            if is_excited:
                self.se = SqueezeExcite(sizes.c_out, shape.c_se, a.activation_in_se)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c_in, h, w]` to `[batch, c_out, h/stride, w/stride]`."""
        for name, is_activated, is_excited in self.convs:
            x = self._normed(name, x)
            x = self.activation(x) if is_activated else x
            x = self.se(x) if is_excited else x
        return x


class Residual(Normed):
    """A block whose branch is a module of its own, and whose skip may be projected, or missing."""

    def __init__(self, a: Architecture, shape: BlockShape, drop_rate: float) -> None:
        super().__init__(a)
        if shape.has_projection:
            self._add("proj", "bn", shape.projection)
        self.pools_skip = shape.pools_skip
        self.f = Branch(a, shape, {})
        self.has_skip = shape.has_skip
        self.drop_rate = drop_rate
        if not shape.is_activated:
            self.activation = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c_in, h, w]` to `[batch, c_out, h/stride, w/stride]`."""
        if not self.has_skip:
            return self.activation(self.f(x))
        skip = self._normed("proj", _mean_pool(x) if self.pools_skip else x) if self.norms else x
        return self.activation(_add(_dropped(self.f(x), self.drop_rate, self.training), skip))


class MBConv(Branch):
    """An inverted bottleneck, fused or not, whose layers are the block's own."""

    def __init__(self, a: Architecture, shape: BlockShape, drop_rate: float) -> None:
        super().__init__(a, shape, _FUSED_NAMES if shape.kind == FUSED else _MBCONV_NAMES)
        self.has_skip = shape.has_skip
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c_in, h, w]` to `[batch, c_out, h/stride, w/stride]`."""
        branch = super().forward(x)
        if not self.has_skip:
            return branch
        branch = _dropped(branch, self.drop_rate, self.training)
        is_activated = self.convs[-1][1]  # ReLU's gradient needs its result
        return branch + x if is_activated else _add(branch, x)


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


class Head(Normed):
    """[1x1 conv], global average pooling, dropout, and the classifier."""

    def __init__(self, a: Architecture) -> None:
        super().__init__(a)
        width = a.stages[-1].width
        if a.head_width:
            norm = "conv_bn" if a.block == "mbconv" else "bn"
            self._add("conv", norm, ConvSizes("conv", 1, width, a.head_width))
            width = a.head_width
        self.fc = nn.Linear(width, a.num_classes) if a.num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[batch, c, h, w]` to logits `[batch, num_classes]`."""
        if self.norms:
            x = self.activation(self._normed("conv", x))
        elif self.network.final_activation:
            x = self.activation(x)
        x = x.mean((2, 3))
        if self.network.dropout:
            x = F.dropout(x, self.network.dropout, self.training)
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
    kind = MBConv if shape.kind in ("mbconv", FUSED) else Residual
    return kind(a, shape, drop_rate)


def _conv(a: Architecture, sizes: ConvSizes) -> nn.Conv2d:
    _, kernel, c_in, c_out, stride, *_ = sizes
    if a.padding == "same" and stride > 1 and kernel > 1:
        return SameConv(c_in, c_out, kernel, stride, groups=sizes.groups, bias=False)
    padding = (kernel - 1) // 2
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=sizes.groups, bias=False)


def _padded(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    """Pads as TensorFlow's `same` does."""
    rows, columns = (padding_of(side, kernel, stride, SAME) for side in x.shape[2:])
    return F.pad(x, (*columns, *rows), value=value)


def _mean_pool(x: Tensor) -> Tensor:
    """Means of 2x2 pixels, with stride 2; at an odd edge, of the pixels that there are."""
    return F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)


def _add(branch: Tensor, skip: Tensor) -> Tensor:
    # no layer needs the branch's result, so the sum may take its place
    return branch.add_(skip)


def _dropped(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Drops the branch for whole images, and scales up what is kept (arXiv:1603.09382)."""
    if not training or not rate:
        return branch
    keep = 1 - rate
    kept = branch.new_empty(branch.shape[0], 1, 1, 1).bernoulli_(keep)
    return branch * kept.div_(keep)


def _note(module: nn.Module, state: Any, prefix: str, metadata: dict[str, Any]) -> None:
    assert isinstance(module, Twin)
    model = module.architecture.to_config().to_dict()
    metadata[NOTE] = json.dumps({"model": model, "channels": module.channels})


def _follow_note(
    module: nn.Module,
    state: Any,
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    assert isinstance(module, Twin)
    if NOTE not in metadata:
        return
    note = json.loads(metadata[NOTE])
    for key, theirs, ours in own_fields(module.architecture, note["model"]):
        if theirs != ours:
            errors.append(f"the weights are of a network with {key} {theirs}, and this has {ours}")
    module.channels = note["channels"]


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
