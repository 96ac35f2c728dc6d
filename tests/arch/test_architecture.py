"""`config.model` and `Architecture`: there and back, and what is refused on the way."""

import dataclasses
import pathlib
import subprocess
import sys

import pytest
from ml_collections import ConfigDict, FieldReference

import fastscale_jax
from fastscale_jax import arch
from fastscale_jax.arch import Architecture, BlockShape
from fastscale_jax.arch.architecture import LATER_FIELDS

NAMED = [
    (family, variant)
    for family, members in arch.FAMILIES.items()
    for variant in (*members.bases, "dWr_x3")
]


@pytest.mark.parametrize(("family", "variant"), NAMED, ids=map("-".join, NAMED))
def test_network_survives_the_way_to_a_config_and_back(family, variant):
    network, _ = arch.resolve(family, variant)
    config = network.to_config()
    assert Architecture.from_config(config) == network
    assert Architecture.from_config(config).to_config() == config
    assert arch.model_config(family, variant) == config


def test_config_has_the_documented_fields_and_plain_values():
    config = arch.model_config("regnetz", "dWr_16gf")
    stage_fields = ["depths", "widths", "strides", "kernels", "group_widths", "expansions"]
    names = ["name", "block", "resolution", "stem", "stem_width", "se_ratio", "head_width"]
    names += ["activation", "num_classes", "dropout", "stochastic_depth", "padding", "bn_eps"]
    names += ["in_channels", "fused_stages", "se_of", "se_activation", "final_activation"]
    names += ["pooled_skips"]
    assert sorted(config) == sorted(names + stage_fields)
    for field, value in config.items():
        values = value if field in stage_fields else (value,)
        assert type(values) is tuple
        assert len(values) == (4 if field in stage_fields else 1)
        assert {type(one) for one in values} <= {int, float, str, bool}


def test_lists_from_json_and_the_command_line_are_read_as_tuples():
    values = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in arch.model_config("resnet").items()
    }
    assert Architecture.from_config(values) == arch.resolve("resnet")[0]


def test_reading_a_config_leaves_it_alone():
    config = arch.model_config("regnety")
    before = config.to_dict()
    Architecture.from_config(config)
    assert config.to_dict() == before


@pytest.mark.parametrize(
    ("family", "first"),
    [
        (
            "resnet",
            BlockShape("bottleneck", 64, 64, 256, 0, 3, 1, 64, True, True, True),
        ),
        (
            "regnety",
            BlockShape("bottleneck", 32, 32, 32, 8, 3, 2, 4, True, True, True),
        ),
        (
            "regnetz",
            BlockShape("linear_bottleneck", 32, 64, 16, 8, 3, 2, 4, True, False, False),
        ),
        (
            "efficientnet",
            BlockShape("mbconv", 32, 32, 16, 8, 3, 1, 1, False, False, False),
        ),
        (
            "efficientnetv2",
            BlockShape("fused_mbconv", 24, 24, 24, 0, 3, 1, 0, False, True, False),
        ),
        (
            "resnetrs",
            BlockShape("bottleneck", 64, 64, 256, 64, 3, 1, 64, True, True, True, "c"),
        ),
    ],
)
def test_first_block_has_the_sizes_of_its_family(family, first):
    blocks = dict(arch.resolve(family)[0].blocks())
    assert blocks["s1.b1"] == first


def test_only_skips_with_a_stride_are_pooled():
    blocks = arch.resolve("resnetrs")[0].blocks()
    assert [name for name, shape in blocks if shape.pools_skip] == ["s2.b1", "s3.b1", "s4.b1"]
    assert {shape.projection.stride for name, shape in blocks if shape.has_projection} <= {1}


def test_later_blocks_keep_their_shape_and_have_a_skip():
    for family in arch.FAMILIES:
        for name, shape in arch.resolve(family)[0].blocks():
            if not name.endswith(".b1"):
                assert shape.has_skip
                assert not shape.has_projection
                assert (shape.stride, shape.c_in) == (1, shape.c_out)


def test_mbconv_takes_inner_and_se_width_from_its_input_the_others_inner_from_their_output():
    efficientnet = dict(arch.resolve("efficientnet")[0].blocks())["s2.b1"]  # 16→24, ratio 6
    assert (efficientnet.c_mid, efficientnet.c_se) == (96, 4)
    regnetz = dict(arch.resolve("regnetz")[0].blocks())["s2.b1"]  # 16→40, ratio 4
    assert (regnetz.c_mid, regnetz.c_se) == (160, 4)


# (family, the fields that are changed, the message)
REFUSED = {
    "unknown block": ("resnet", {"block": "plain"}, "unknown block 'plain'; choose one of basic"),
    "unknown stem": (
        "resnet",
        {"stem": "conv5x5"},
        r"unknown stem 'conv5x5'; did you mean conv3x3\? choose one of conv3x3",
    ),
    "unknown activation": (
        "resnet",
        {"activation": "gelu"},
        "activation 'gelu'; .* relu, relu6, silu",
    ),
    "a choice that is no string": ("resnet", {"block": 3}, "unknown block 3; choose one of"),
    "no resolution": ("resnet", {"resolution": 0}, "resolution must be a whole .* 1; got 0"),
    "a resolution in fractions": ("resnet", {"resolution": 224.0}, "resolution must .* got 224.0"),
    "a boolean for a number": ("resnet", {"stem_width": True}, "stem_width must .* got True"),
    "a text for a number": ("resnet", {"num_classes": "1000"}, "num_classes must .* got '1000'"),
    "nothing for a number": ("resnet", {"head_width": None}, "head_width must .* 0; got None"),
    "a negative head": ("resnet", {"head_width": -1}, "head_width must .* at least 0; got -1"),
    "too much SE": ("regnety", {"se_ratio": 2}, "se_ratio must be a number from 0 to 1; got 2"),
    "SE that is no number": ("regnety", {"se_ratio": "no"}, "se_ratio must be .*; got 'no'"),
    "SE that is not a number": ("regnety", {"se_ratio": float("nan")}, "se_ratio must .* got nan"),
    "negative dropout": ("resnet", {"dropout": -0.1}, "dropout must be .* from 0 to 1; got -0.1"),
    "all dropped": ("resnet", {"dropout": 1.0}, "dropout must be below 1; got 1"),
    "all blocks dropped": ("resnet", {"stochastic_depth": 1}, "stochastic_depth must be below 1"),
    "lengths differ": (
        "resnet",
        {"depths": (3, 4, 6)},
        "the same length; depths has 3, widths has",
    ),
    "a number for a tuple": ("resnet", {"widths": 256}, "widths must be a tuple .*; got 256"),
    "a text for a tuple": ("resnet", {"widths": "1234"}, "widths must be a tuple .*; got '1234'"),
    "no blocks": ("resnet", {"depths": (3, 0, 6, 3)}, "depths of stage 2 must .* 1; got 0"),
    "a width in fractions": (
        "resnet",
        {"widths": (256, 512, 1024, 2048.0)},
        "widths of stage 4 must be a whole number of at least 1; got 2048.0",
    ),
    "a large stride": ("resnet", {"strides": (1, 2, 2, 3)}, "strides of stage 4 must be 1 or 2; g"),
    "an even kernel": (
        "resnet",
        {"kernels": (3, 4, 3, 3)},
        "kernels of stage 2 must be odd; got 4",
    ),
    "no expansion": (
        "regnetz",
        {"expansions": (4, 4, 0, 4)},
        "expansions of stage 3 must be above",
    ),
    "groups that do not divide": (
        "resnet",
        {"group_widths": (64, 100, 256, 512)},
        r"group width 100 of stage 2 does not divide its inner width 128 \(block bottleneck",
    ),
    "an inner width of nothing": (
        "resnet",
        {"expansions": (0.001, 0.25, 0.25, 0.25), "group_widths": (1, 128, 256, 512)},
        "group width 1 of stage 1 does not divide its inner width 0",
    ),
    "groups that do not divide the inner width of a stage's first block": (
        "efficientnet",
        {"group_widths": (1, 1, 16, 32, 1, 1, 1)},
        "group width 32 of stage 4 does not divide its inner width 240",
    ),
    "dense mbconv": (
        "efficientnet",
        {"group_widths": (1, 1, 0, 1, 1, 1, 1)},
        "group_widths of stage 3 must be a whole number of at least 1; got 0",
    ),
    "fused blocks in groups": (
        "efficientnetv2",
        {"group_widths": (1, 0, 0, 1, 1, 1)},
        "fused_mbconv blocks are dense: group_widths of stage 1 must be 0; got 1",
    ),
    "fused blocks of another kind": (
        "resnet",
        {"fused_stages": 1},
        "fused_stages is for mbconv blocks; bottleneck blocks have none",
    ),
    "more fused stages than stages": (
        "efficientnetv2",
        {"fused_stages": 7},
        "fused_stages must be at most 6; got 7",
    ),
    "no channels": ("resnet", {"in_channels": 0}, "in_channels must be a whole .* 1; got 0"),
    "basic blocks in groups": (
        "resnet",
        {"block": "basic"},
        "basic blocks are dense: group_widths of stage 1 must be 0; got 64",
    ),
    "basic blocks with SE": (
        "resnet",
        {"block": "basic", "se_ratio": 0.25, "group_widths": (0, 0, 0, 0)},
        "basic blocks have no SE: se_ratio must be 0; got 0.25",
    ),
    "a tiered stem that does not divide": (
        "regnetz",
        {"stem": "tiered", "stem_width": 36},
        "stem_width must be a multiple of 8 for the stem tiered; got 36",
    ),
    "a deep stem that does not divide": (
        "resnetrs",
        {"stem_width": 63},
        "stem_width must be a multiple of 2 for the stem deep; got 63",
    ),
    "pooled skips where none is projected": (
        "regnetz",
        {"pooled_skips": True},
        "pooled_skips is for blocks with projected skips; linear_bottleneck blocks have none",
    ),
    "pooled skips that are no choice": (
        "resnetrs",
        {"pooled_skips": 2},
        "pooled_skips must be true or false; got 2",
    ),
    "SE of an unknown width": ("regnetz", {"se_of": "outer"}, "unknown se_of 'outer'.* input, in"),
    "a last activation twice": (
        "regnetz",
        {"final_activation": True},
        "final_activation is for networks of linear blocks without a head conv",
    ),
    "a last activation that is no choice": (
        "regnetz",
        {"final_activation": "silu"},
        "final_activation must be true or false; got 'silu'",
    ),
    "too few pixels": (
        "resnet",
        {"resolution": 16},
        r"resolution 16 is too small for the strides \(2, 2, 1, 2, 2, 2\) \(stem first\); "
        "the smallest that fits is 17",
    ),
}


@pytest.mark.parametrize(("family", "changes", "message"), REFUSED.values(), ids=REFUSED)
def test_config_is_refused_with_the_field_and_what_would_be_right(family, changes, message):
    values = {**arch.model_config(family).to_dict(), **changes}
    for config in (values, ConfigDict(values)):
        with pytest.raises(ValueError, match=message) as refusal:
            Architecture.from_config(config)
        assert "\n" not in str(refusal.value)


def test_a_config_of_an_older_version_means_what_it_meant():
    config = arch.model_config("regnety", "400mf").to_dict()
    for field in LATER_FIELDS:
        del config[field]
    network = Architecture.from_config(config)
    assert (network.padding, network.bn_eps, network.in_channels) == ("symmetric", 1e-5, 3)
    assert (network.fused_stages, network.se_of, network.final_activation) == (0, "input", False)
    assert (network.se_activation, network.pooled_skips) == ("", False)
    assert network == arch.resolve("regnety", "400mf")[0]
    assert network.to_record() == config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("padding", "SAME", "unknown padding 'SAME'; did you mean same"),
        ("bn_eps", 0.0, "bn_eps must be a number from 1e-09 to 1; got 0.0"),
        ("bn_eps", "1e-3", "bn_eps must be a number"),
        ("activation", "relu5", "did you mean relu\\?"),
    ],
)
def test_padding_epsilon_and_activation_are_checked(field, value, message):
    config = {**arch.model_config("efficientnet", "lite0").to_dict(), field: value}
    with pytest.raises(ValueError, match=message):
        Architecture.from_config(config)


def test_missing_and_unknown_fields_are_named():
    values = arch.model_config("resnet").to_dict()
    del values["stem"], values["depths"]
    values["depht"] = (3, 4, 6, 3)
    with pytest.raises(ValueError, match="wrong fields: missing depths, stem; unknown depht"):
        Architecture.from_config(values)


def test_a_network_needs_a_stage():
    values = arch.model_config("resnet").to_dict()
    values |= {key: () for key, value in values.items() if isinstance(value, tuple)}
    with pytest.raises(ValueError, match="needs at least one stage"):
        Architecture.from_config(values)


def test_the_smallest_resolution_that_fits_is_accepted():
    values = {**arch.model_config("resnet").to_dict(), "resolution": 17}
    assert arch.parts(values)[-2].size == 1


def test_a_field_may_be_a_reference_to_a_value():
    config, resolution = arch.model_config("resnet"), FieldReference(224)
    config.resolution = resolution
    assert arch.count(config) == arch.count(arch.model_config("resnet"))
    resolution.set(256)
    assert Architecture.from_config(config).resolution == 256


def test_an_architecture_cannot_be_changed():
    network, _ = arch.resolve("resnet")
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.resolution = 256  # pyright: ignore[reportAttributeAccessIssue]


def test_describing_and_scaling_networks_imports_no_framework():
    code = (
        "import sys; from fastscale_jax import arch; "
        "arch.count(arch.scale(arch.model_config('regnetz'), 'dWr', flops=4e9)); "
        "print(sorted({'jax', 'flax', 'numpy', 'tensorflow', 'torch'} & sys.modules.keys()))"
    )
    root = pathlib.Path(fastscale_jax.__path__[0]).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
