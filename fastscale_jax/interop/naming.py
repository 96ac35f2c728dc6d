"""What other libraries call a network's modules, as data."""

from collections.abc import Mapping
from typing import NamedTuple

from fastscale_jax.arch.blocks import BLOCKS, STEMS

# a layer's module, and its BatchNorm's where it has one
Modules = tuple[str, ...]


class Names(NamedTuple):
    """Module names of one kind of network."""

    stem: Mapping[str, Modules]  # its convs, by our name
    # prefix of a block's modules: {i} stage and {j} block from 1; {i0}, {j0} and, within the whole
    # network, {n0} from 0
    block: str
    layers: Mapping[str, Modules]  # of a block, by our name; SE is left out where they have none
    classifier: str
    head: Modules = ()  # the conv before pooling, with {i}: stages + 1; empty: they have none
    unexpanded: Mapping[str, Modules] = {}  # layers of a block without its first 1x1
    fused: Mapping[str, Modules] = {}  # of a fused block; empty: they have none
    fused_unexpanded: Mapping[str, Modules] = {}
    # Values that no tensor shows: weights with other values would load without error. Empty: any.
    activations: tuple[str, ...] = ()
    strides: tuple[int, ...] = ()  # of the stages
    conventions: tuple[tuple[str, float], ...] = (("symmetric", 1e-5),)  # padding, epsilon
    se_bases: tuple[str, ...] = ("input",)
    se_activation: str = ""  # empty: the network's
    final_activation: bool = False  # of what is pooled, where there is no head conv
    pooled_skips: bool = False


GROUPED = "grouped mbconv"  # mbconv blocks that are not depthwise

_EFFICIENTNET_STRIDES = (1, 2, 2, 2, 1, 2, 1)

PYCLS = Names(
    stem={f"conv{n}": (f"stem.conv{n}", f"stem.bn{n}") for n in ("", 1, 2, 3, 4)},
    block="s{i}.b{j}.",
    layers={
        "proj": ("proj", "bn"),
        "a": ("f.a", "f.a_bn"),
        "b": ("f.b", "f.b_bn"),
        "se.reduce": ("f.se.f_ex.0",),
        "se.expand": ("f.se.f_ex.2",),
        "c": ("f.c", "f.c_bn"),
    },
    head=("head.conv", "head.bn"),
    classifier="head.fc",
    # pycls's own pad symmetrically, with any epsilon; our PyTorch twin has these names too
    conventions=(),
    se_bases=(),
)
_PYCLS_MBCONV_LAYERS = {
    "a": ("exp", "exp_bn"),
    "b": ("dwise", "dwise_bn"),
    "se.reduce": ("se.f_ex.0",),
    "se.expand": ("se.f_ex.2",),
    "c": ("lin_proj", "lin_proj_bn"),
}
# not the reference's, which has no fused blocks
_PYCLS_FUSED_LAYERS = {"b": ("fused", "fused_bn"), "c": ("lin_proj", "lin_proj_bn")}
PYCLS_MBCONV = PYCLS._replace(
    layers=_PYCLS_MBCONV_LAYERS,
    unexpanded=_PYCLS_MBCONV_LAYERS,
    fused=_PYCLS_FUSED_LAYERS,
    fused_unexpanded=_PYCLS_FUSED_LAYERS,
    head=("head.conv", "head.conv_bn"),
)

TIMM_REGNET = Names(
    stem={"conv": ("stem.conv", "stem.bn")},
    block="s{i}.b{j}.",
    layers={
        "proj": ("downsample.conv", "downsample.bn"),
        "a": ("conv1.conv", "conv1.bn"),
        "b": ("conv2.conv", "conv2.bn"),
        "se.reduce": ("se.fc1",),
        "se.expand": ("se.fc2",),
        "c": ("conv3.conv", "conv3.bn"),
    },
    head=("final_conv.conv", "final_conv.bn"),
    classifier="head.fc",
    activations=("relu",),
    strides=(2, 2, 2, 2),
)
TIMM_EFFICIENTNET = Names(
    stem={"conv": ("conv_stem", "bn1")},
    block="blocks.{i0}.{j0}.",
    layers={
        "a": ("conv_pw", "bn1"),
        "b": ("conv_dw", "bn2"),
        "se.reduce": ("se.conv_reduce",),
        "se.expand": ("se.conv_expand",),
        "c": ("conv_pwl", "bn3"),
    },
    unexpanded={
        "b": ("conv_dw", "bn1"),
        "se.reduce": ("se.conv_reduce",),
        "se.expand": ("se.conv_expand",),
        "c": ("conv_pw", "bn2"),
    },
    fused={"b": ("conv_exp", "bn1"), "c": ("conv_pwl", "bn2")},
    fused_unexpanded={"b": ("conv", "bn1")},
    head=("conv_head", "bn2"),
    classifier="classifier",
    activations=("silu", "relu6"),
    strides=_EFFICIENTNET_STRIDES,
    conventions=(("symmetric", 1e-5), ("same", 1e-3)),  # the second: of tf_efficientnet*
)
# of its RegNetZ whose blocks expand their input
TIMM_BYOBNET = Names(
    stem={"conv": ("stem.conv", "stem.bn")},
    block="stages.{i0}.{j0}.",
    layers={
        "a": ("conv1_1x1.conv", "conv1_1x1.bn"),
        "b": ("conv2_kxk.conv", "conv2_kxk.bn"),
        "se.reduce": ("attn.fc1",),
        "se.expand": ("attn.fc2",),
        "c": ("conv3_1x1.conv", "conv3_1x1.bn"),
    },
    head=("final_conv.conv", "final_conv.bn"),
    classifier="head.fc",
    activations=("silu",),
    strides=(2, 2, 2, 2),
    se_bases=("inner",),
    se_activation="relu",
)

# ResNets have the same module names in timm and in torchvision
RESNET = Names(
    stem={"conv": ("conv1", "bn1")},
    block="layer{i}.{j0}.",
    layers={
        "proj": ("downsample.0", "downsample.1"),
        "a": ("conv1", "bn1"),
        "b": ("conv2", "bn2"),
        "c": ("conv3", "bn3"),
    },
    classifier="fc",
    activations=("relu",),
    strides=(1, 2, 2, 2),
)
# of timm's ResNet-RS; its last stem conv is in the place of the max-pool
TIMM_RESNET_RS = RESNET._replace(
    stem={
        "conv1": ("conv1.0", "conv1.1"),
        "conv2": ("conv1.3", "conv1.4"),
        "conv3": ("conv1.6", "bn1"),
        "conv4": ("maxpool.0", "maxpool.1"),
    },
    layers={
        **RESNET.layers,
        "proj": ("downsample.1", "downsample.2"),
        "se.reduce": ("se.fc1",),
        "se.expand": ("se.fc2",),
    },
    se_bases=("output",),
    pooled_skips=True,
)

TORCHVISION_REGNET = Names(
    stem={"conv": ("stem.0", "stem.1")},
    block="trunk_output.block{i}.block{i}-{j0}.",
    layers={
        "proj": ("proj.0", "proj.1"),
        "a": ("f.a.0", "f.a.1"),
        "b": ("f.b.0", "f.b.1"),
        "se.reduce": ("f.se.fc1",),
        "se.expand": ("f.se.fc2",),
        "c": ("f.c.0", "f.c.1"),
    },
    classifier="fc",
    activations=("relu",),
    strides=(2, 2, 2, 2),
)
TORCHVISION_EFFICIENTNET = Names(
    stem={"conv": ("features.0.0", "features.0.1")},
    block="features.{i}.{j0}.block.",
    layers={
        "a": ("0.0", "0.1"),
        "b": ("1.0", "1.1"),
        "se.reduce": ("2.fc1",),
        "se.expand": ("2.fc2",),
        "c": ("3.0", "3.1"),
    },
    unexpanded={
        "b": ("0.0", "0.1"),
        "se.reduce": ("1.fc1",),
        "se.expand": ("1.fc2",),
        "c": ("2.0", "2.1"),
    },
    fused={"b": ("0.0", "0.1"), "c": ("1.0", "1.1")},
    fused_unexpanded={"b": ("0.0", "0.1")},
    head=("features.{i}.0", "features.{i}.1"),
    classifier="classifier.1",
    activations=("silu",),
    strides=_EFFICIENTNET_STRIDES,
)

_EFFICIENTNET_PYTORCH_LAYERS = {
    "a": ("_expand_conv", "_bn0"),
    "b": ("_depthwise_conv", "_bn1"),
    "se.reduce": ("_se_reduce",),
    "se.expand": ("_se_expand",),
    "c": ("_project_conv", "_bn2"),
}
# of PyPI's efficientnet-pytorch and efficientnet-lite-pytorch, which pad as TensorFlow does
EFFICIENTNET_PYTORCH = Names(
    stem={"conv": ("_conv_stem", "_bn0")},
    block="_blocks.{n0}.",
    layers=_EFFICIENTNET_PYTORCH_LAYERS,
    unexpanded=_EFFICIENTNET_PYTORCH_LAYERS,
    head=("_conv_head", "_bn1"),
    classifier="_fc",
    activations=("silu", "relu6"),
    strides=_EFFICIENTNET_STRIDES,
    conventions=(("same", 1e-3),),
)

KERAS = "keras"
# of keras.applications; their tensors are numbered, which keras_layout does
KERAS_EFFICIENTNET = EFFICIENTNET_PYTORCH._replace(activations=("silu",))

# by (kind of block, stem) of an architecture; what is not there, the library does not have
NAMES: dict[str, dict[tuple[str, str], Names]] = {
    "pycls": {
        (block, stem): PYCLS_MBCONV if "mbconv" in block else PYCLS
        for block in (*BLOCKS, GROUPED)
        for stem in STEMS
    },
    "timm": {
        ("bottleneck", "conv3x3"): TIMM_REGNET,
        ("linear_bottleneck", "conv3x3"): TIMM_REGNET._replace(
            activations=("silu",), final_activation=True
        ),
        ("mbconv", "conv3x3"): TIMM_EFFICIENTNET,
        (GROUPED, "conv3x3"): TIMM_BYOBNET,
        (GROUPED, "tiered"): TIMM_BYOBNET._replace(
            stem={f"conv{n}": (f"stem.conv{n}.conv", f"stem.conv{n}.bn") for n in (1, 2, 3)},
            strides=(1, 2, 2, 2),
        ),
        ("basic", "conv7x7_pool"): RESNET,
        ("bottleneck", "conv7x7_pool"): RESNET,
        ("bottleneck", "deep"): TIMM_RESNET_RS,
    },
    "torchvision": {
        ("bottleneck", "conv3x3"): TORCHVISION_REGNET,
        ("mbconv", "conv3x3"): TORCHVISION_EFFICIENTNET,
        ("basic", "conv7x7_pool"): RESNET,
        ("bottleneck", "conv7x7_pool"): RESNET,
    },
    "efficientnet_pytorch": {("mbconv", "conv3x3"): EFFICIENTNET_PYTORCH},
    KERAS: {("mbconv", "conv3x3"): KERAS_EFFICIENTNET},
}
