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


@pytest.mark.parametrize(("base", "params"), [("b6", 43_040_704), ("b7", 66_347_960)])
def test_large_efficientnets_have_the_parameters_that_torchvision_publishes(base, params):
    assert arch.count(arch.model_config("efficientnet", base)).params == params


@pytest.mark.parametrize(
    ("base", "params"),
    [
        *(("lite0", 4_652_008), ("lite1", 5_416_680), ("lite2", 6_092_072)),
        *(("lite3", 8_197_096), ("lite4", 13_006_568)),
    ],
)
def test_efficientnet_lites_have_the_parameters_of_timm_s(base, params):
    assert arch.count(arch.model_config("efficientnet", base)).params == params


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
