"""Costs, against the reference implementation, torchvision's figures and hand arithmetic."""

import dataclasses
import functools
import operator

import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Architecture, Complexity, Stage
from tests.golden_files import config_sizes, family_and_base, golden, golden_sizes

NAMED = [(family, base) for family, members in arch.FAMILIES.items() for base in members.bases]
NAMED_IDS = [f"{family}-{base}" for family, base in NAMED]


@pytest.mark.parametrize("name", golden("zoo"))
def test_named_network_has_the_reference_sizes_and_cost(name):
    row = golden("zoo")[name]
    config = arch.model_config(*family_and_base(name))
    assert config_sizes(config) == golden_sizes(row)
    assert arch.count(config) == Complexity(row["flops"], row["params"], row["acts"])


# parameters, and flops in units of 1e9 as torchvision rounds them
TORCHVISIONS = {
    ("efficientnet", "b6"): (43_040_704, 19.068),
    ("efficientnet", "b7"): (66_347_960, 37.746),
    ("efficientnetv2", "s"): (21_458_488, 8.366),
    ("efficientnetv2", "m"): (54_139_356, 24.582),
    ("efficientnetv2", "l"): (118_515_272, 56.08),
    ("resnet", "18"): (11_689_512, 1.814),
    ("resnet", "34"): (21_797_672, 3.664),
    ("resnet", "101-32x8d"): (88_791_336, 16.414),
    ("resnet", "101-64x4d"): (83_455_272, 15.46),
    ("resnet", "50-wide2"): (68_883_240, 11.398),
    ("resnet", "101-wide2"): (126_886_696, 22.753),
}


@pytest.mark.parametrize(("name", "published"), TORCHVISIONS.items(), ids=str)
def test_a_network_costs_what_torchvision_publishes(name, published):
    flops, params, _ = arch.count(arch.model_config(*name))
    assert params == published[0]
    # torchvision leaves out the biases of SE and of the classifier
    assert flops / 1e9 == pytest.approx(published[1], abs=1e-3)


@pytest.mark.parametrize(
    ("base", "params"),
    [
        *(("lite0", 4_652_008), ("lite1", 5_416_680), ("lite2", 6_092_072)),
        *(("lite3", 8_197_096), ("lite4", 13_006_568)),
        *(("b16", 9_715_480), ("c16", 13_459_880), ("d32", 27_576_288)),
        *(("d8", 23_373_792), ("e8", 57_698_176), ("26", 15_995_176)),
    ],
)
def test_a_network_has_the_parameters_of_timm_s(base, params):
    family = {"l": "efficientnet", "2": "resnet"}.get(base[0], "regnetz")
    assert arch.count(arch.model_config(family, base)).params == params


# By depth and pixels: parameters in millions, multiply-adds in billions and activations in millions
# on the cards of timm's weights, as on huggingface.co/timm/resnetrs420.tf_in1k.
RESNET_RS = {
    ("50", 160): (35.7, 2.3, 6.2),
    ("101", 192): (63.6, 6.0, 12.7),
    ("101", 288): (63.6, 13.6, 28.5),
    ("152", 256): (86.6, 15.6, 30.8),
    ("152", 320): (86.6, 24.3, 48.1),
    ("200", 256): (93.2, 20.2, 43.4),
    ("200", 320): (93.2, 31.5, 67.8),
    ("270", 256): (129.9, 27.1, 55.8),
    ("270", 352): (129.9, 51.1, 105.5),
    ("350", 288): (164.0, 43.7, 87.1),
    ("350", 384): (164.0, 77.6, 154.7),
    ("420", 320): (191.9, 64.2, 126.6),
    ("420", 416): (191.9, 108.4, 213.8),
}


@pytest.mark.parametrize(("of", "published"), RESNET_RS.items(), ids=str)
def test_a_resnet_rs_costs_what_timm_publishes(of, published):
    base, pixels = of
    config = arch.model_config("resnetrs", base)
    config.resolution = pixels
    flops, params, acts = arch.count(config)
    assert (round(params / 1e6, 1), round(acts / 1e6, 1)) == (published[0], published[2])
    # timm's counter adds about two operations an output, for BatchNorm; ±0.05 is rounding
    assert flops / 1e9 - 0.05 <= published[1] <= (flops + 2 * acts) / 1e9 + 0.05


def test_resnet_rs_420_costs_what_its_paper_says():
    """arXiv:2103.07579: 192 million parameters, 128 billion operations; two are one of ours."""
    flops, params, _ = arch.count(arch.model_config("resnetrs", "420"))
    assert (round(2 * flops / 1e9), round(params / 1e6)) == (128, 192)


@pytest.mark.parametrize(("family", "base"), NAMED, ids=NAMED_IDS)
def test_layers_and_parts_sum_to_the_count(family, base):
    network, _ = arch.resolve(family, base)
    total = arch.count(network)
    layers = [Complexity(x.flops, x.params, x.acts) for x in arch.layers(network)]
    parts = [part.complexity for part in arch.parts(network)]
    assert functools.reduce(operator.add, layers) == total
    assert functools.reduce(operator.add, parts) == total


@pytest.mark.parametrize(("family", "base"), NAMED, ids=NAMED_IDS)
def test_every_form_of_a_network_costs_the_same(family, base):
    network, _ = arch.resolve(family, base)
    config = network.to_config()
    assert arch.count(network) == arch.count(config) == arch.count(config.to_dict())


def small(**changes) -> Architecture:
    """32 pixels, a stem of 8 channels, one stage of two blocks with 16 channels at 8 pixels."""
    network = Architecture(
        name="small",
        block="bottleneck",
        resolution=32,
        stem="conv3x3",
        stem_width=8,
        stages=(Stage(2, 16, 2, 3, 4, 0.5),),
        se_ratio=0.0,
        head_width=0,
        activation="relu",
        num_classes=10,
    )
    return dataclasses.replace(network, **changes)


# The stem gives 16 pixels, the first block halves them to 8. Each term is one layer: for flops and
# acts weights or channels times pixels; for params weights + 2 per BatchNorm channel, or + biases.
STEM = Complexity(9 * 3 * 8 * 256, 9 * 3 * 8 + 16, 8 * 256)
FC = Complexity(17 * 10, 17 * 10, 10)
BY_HAND = {
    # proj 8→16, a 8→8, b 3x3 of 2 groups of 4, c 8→16; then a 16→8, b, c
    "bottleneck": (
        small(),
        Complexity(
            (128 * 64 + 64 * 256 + 288 * 64 + 128 * 64) + (128 + 288 + 128) * 64,
            (128 + 32) + (64 + 16) + (288 + 16) + (128 + 32) + (128 + 16) + (288 + 16) + (128 + 32),
            (16 * 64 + 8 * 256 + 8 * 64 + 16 * 64) + (8 + 8 + 16) * 64,
        ),
    ),
    # as above; SE of width 8/4 = 2 in the first block and 16/4 = 4 in the second, on 8 channels
    "bottleneck with SE": (
        small(se_ratio=0.25),
        Complexity(
            (128 * 64 + 64 * 256 + 288 * 64 + 128 * 64)
            + (128 + 288 + 128) * 64
            + (9 * 2 + 3 * 8)
            + (9 * 4 + 5 * 8),
            (128 + 32)
            + (64 + 16)
            + (288 + 16)
            + (128 + 32)
            + (128 + 16)
            + (288 + 16)
            + (128 + 32)
            + (9 * 2 + 3 * 8)
            + (9 * 4 + 5 * 8),
            (16 * 64 + 8 * 256 + 8 * 64 + 16 * 64) + (8 + 8 + 16) * 64 + (2 + 8) + (4 + 8),
        ),
    ),
    # as "bottleneck"; SE on the 16 channels of c, of width 16/4 rounded to 8; pooling costs nothing
    "bottleneck with SE of the output and pooled skips": (
        small(se_ratio=0.25, se_of="output", pooled_skips=True),
        Complexity(
            (128 * 64 + 64 * 256 + 288 * 64 + 128 * 64)
            + (128 + 288 + 128) * 64
            + 2 * (17 * 8 + 9 * 16),
            (128 + 32)
            + (64 + 16)
            + (288 + 16)
            + (128 + 32)
            + (128 + 16)
            + (288 + 16)
            + (128 + 32)
            + 2 * (17 * 8 + 9 * 16),
            (16 * 64 + 8 * 256 + 8 * 64 + 16 * 64) + (8 + 8 + 16) * 64 + 2 * (8 + 16),
        ),
    ),
    # a 8→32, b 3x3 of 8 groups of 4, c 32→16; then a 16→32, b, c; never a projection
    "linear bottleneck": (
        small(block="linear_bottleneck", stages=(Stage(2, 16, 2, 3, 4, 2.0),)),
        Complexity(
            (256 * 256 + 1152 * 64 + 512 * 64) + (512 + 1152 + 512) * 64,
            (256 + 64) + (1152 + 64) + (512 + 32) + (512 + 64) + (1152 + 64) + (512 + 32),
            (32 * 256 + 32 * 64 + 16 * 64) + (32 + 32 + 16) * 64,
        ),
    ),
    # expands the input: a 8→48, depthwise 5x5, c 48→16; then a 16→96, b, c 96→16
    "mbconv": (
        small(block="mbconv", stages=(Stage(2, 16, 2, 5, 1, 6.0),)),
        Complexity(
            (384 * 256 + 1200 * 64 + 768 * 64) + (1536 + 2400 + 1536) * 64,
            (384 + 96) + (1200 + 96) + (768 + 32) + (1536 + 192) + (2400 + 192) + (1536 + 32),
            (48 * 256 + 48 * 64 + 16 * 64) + (96 + 96 + 16) * 64,
        ),
    ),
    # depthwise 3x3 on the input itself, c 8→16; then depthwise, c 16→16
    "mbconv without expansion": (
        small(block="mbconv", stages=(Stage(2, 16, 2, 3, 1, 1.0),)),
        Complexity(
            (72 * 64 + 128 * 64) + (144 + 256) * 64,
            (72 + 16) + (128 + 32) + (144 + 32) + (256 + 32),
            (8 * 64 + 16 * 64) + (16 + 16) * 64,
        ),
    ),
    # proj 8→16, a 3x3 8→16, b 3x3 16→16; then a, b
    "basic": (
        small(block="basic", stages=(Stage(2, 16, 2, 3, 0, 1.0),)),
        Complexity(
            (128 + 1152 + 2304) * 64 + (2304 + 2304) * 64,
            (128 + 32) + (1152 + 32) + (2304 + 32) + 2 * (2304 + 32),
            5 * 16 * 64,
        ),
    ),
    # b 3x3 8→32 with the stride, c 32→16; then b 16→64, c 64→16; no SE
    "fused mbconv": (
        small(block="mbconv", stages=(Stage(2, 16, 2, 3, 0, 4.0),), fused_stages=1, se_ratio=0.25),
        Complexity(
            (2304 + 512) * 64 + (9216 + 1024) * 64,
            (2304 + 64) + (512 + 32) + (9216 + 128) + (1024 + 32),
            (32 + 16 + 64 + 16) * 64,
        ),
    ),
    # a single conv each: b 3x3 8→16; then 16→16
    "fused mbconv without expansion": (
        small(block="mbconv", stages=(Stage(2, 16, 2, 3, 0, 1.0),), fused_stages=1),
        Complexity((1152 + 2304) * 64, (1152 + 32) + (2304 + 32), 2 * 16 * 64),
    ),
    # as mbconv, in groups of 8; SE of widths 48/4 = 12, halfway to 16, and 96/4 = 24
    "mbconv in groups with SE of the inner width": (
        small(block="mbconv", stages=(Stage(2, 16, 2, 3, 8, 6.0),), se_ratio=0.25, se_of="inner"),
        Complexity(
            (384 * 256 + 3456 * 64 + 768 * 64)
            + (1536 + 6912 + 1536) * 64
            + (49 * 16 + 17 * 48)
            + (97 * 24 + 25 * 96),
            (384 + 96)
            + (3456 + 96)
            + (768 + 32)
            + (1536 + 192)
            + (6912 + 192)
            + (1536 + 32)
            + (49 * 16 + 17 * 48)
            + (97 * 24 + 25 * 96),
            (48 * 256 + 48 * 64 + 16 * 64) + (96 + 96 + 16) * 64 + (16 + 48) + (24 + 96),
        ),
    ),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_small_network_costs_what_hand_arithmetic_says(kind):
    network, stage = BY_HAND[kind]
    assert arch.count(network) == STEM + stage + FC


def test_head_conv_stands_between_the_last_stage_and_the_classifier():
    plain = arch.count(small())
    head = Complexity(16 * 20 * 64, 16 * 20 + 40, 20 * 64)
    fc = Complexity(21 * 10, 21 * 10, 10)
    assert arch.count(small(head_width=20)) + FC == plain + head + fc


def test_pooled_stem_counts_the_pool_as_acts_alone():
    network = small(stem="conv7x7_pool")
    stem = arch.parts(network)[0]
    assert stem.complexity == Complexity(49 * 3 * 8 * 256, 49 * 3 * 8 + 16, 8 * 256 + 8 * 64)
    assert [(layer.name, layer.size) for layer in stem.first] == [("conv", 16), ("pool", 8)]


def test_a_tiered_stem_has_three_convs_and_reads_any_number_of_channels():
    stem = arch.parts(small(stem="tiered", in_channels=5))[0]
    sizes = [(layer.name, layer.c_group, layer.width, layer.size) for layer in stem.first]
    assert sizes == [("conv1", 5, 3, 16), ("conv2", 3, 4, 16), ("conv3", 4, 8, 8)]
    flops = (9 * 5 * 3 + 9 * 3 * 4) * 256 + 9 * 4 * 8 * 64
    params = (9 * 5 * 3 + 6) + (9 * 3 * 4 + 8) + (9 * 4 * 8 + 16)
    assert stem.complexity == Complexity(flops, params, (3 + 4) * 256 + 8 * 64)


def test_a_deep_stem_has_four_convs_and_no_pool():
    stem = arch.parts(small(stem="deep"))[0]
    sizes = [(layer.name, layer.c_group, layer.width, layer.size) for layer in stem.first]
    assert sizes == [
        ("conv1", 3, 4, 16),
        ("conv2", 4, 4, 16),
        ("conv3", 4, 8, 16),
        ("conv4", 8, 8, 8),
    ]
    weights = (9 * 3 * 4, 9 * 4 * 4, 9 * 4 * 8, 9 * 8 * 8)
    flops = sum(weights[:3]) * 256 + weights[3] * 64
    assert stem.complexity == Complexity(flops, sum(weights) + 2 * 24, 16 * 256 + 8 * 64)


def test_se_of_the_output_comes_last():
    names = [x.name for x in arch.layers(small(se_ratio=0.25, se_of="output"))]
    assert names[2:7] == [f"s1.b1.{layer}" for layer in ("a", "b", "c", "se.reduce", "se.expand")]


def test_odd_sizes_round_up_at_every_stride():
    # 30 pixels: 15 after the stem, 8 after the stage
    assert [part.size for part in arch.parts(small(resolution=30))] == [15, 8, 1]


def test_layers_come_in_order_under_their_full_names():
    names = [layer.name for layer in arch.layers(small(se_ratio=0.25, head_width=20))]
    block = ["a", "b", "se.reduce", "se.expand", "c"]
    assert names == [
        "stem.conv",
        "s1.b1.proj",
        *(f"s1.b1.{layer}" for layer in block),
        *(f"s1.b2.{layer}" for layer in block),
        "head.conv",
        "head.fc",
    ]


def test_counting_refuses_a_config_that_describes_no_network():
    config = arch.model_config("resnet")
    config.depths = (3, 4, 6)
    with pytest.raises(ValueError, match="same length; depths has 3, widths has 4"):
        arch.count(config)
