"""Flops of convs and products in kernels, and what each conv is for."""

import pytest

from fastscale_jax.targets.kernels import ProgramCount, Total
from tests.targets.programs import BACKWARD, FORWARD, computation, named, parameter, program

BY_CUDNN = {  # operands, result, window: of a conv 3x3 of stride 2 in 4 groups
    "__cudnn$convForward": ("bf16[8,16,16,32]", "bf16[64,3,3,8]", "bf16[8,8,8,64]"),
    "__cudnn$convBackwardInput": ("bf16[8,8,8,64]", "bf16[64,3,3,8]", "bf16[8,16,16,32]"),
    "__cudnn$convBackwardFilter": ("bf16[8,16,16,32]", "bf16[8,8,8,64]", "bf16[64,3,3,8]"),
}
CUDNN_KINDS = ("conv forward", "conv input gradient", "conv filter gradient")


@pytest.mark.parametrize(
    ("target", "kind"), [*zip(BY_CUDNN, CUDNN_KINDS, strict=True)], ids=CUDNN_KINDS
)
def test_a_library_s_conv_and_its_gradients_cost_the_same(target, kind):
    x, y, result = BY_CUDNN[target]
    found = program(
        parameter("x", x),
        parameter("y", y, 1),
        f"%k = ({result}, u8[0]) custom-call(%x, %y), window={{size=3x3 stride=2x2 pad=1_1x1_1}}, "
        f'dim_labels=b01f_o01i->b01f, feature_group_count=4, custom_call_target="{target}"',
    )
    assert [(k.kind, k.flops) for k in found.kernels] == [(kind, 2 * 8 * 8 * 8 * 64 * 9 * 8)]
    assert found.custom_calls == {target}


PLAIN, SPREAD = "window={size=3x3 pad=1_1x1_1}", "window={size=3x3 pad=1_2x1_2 lhs_dilate=2x2}"
# TPUs: 8 groups of 4 channels as one more direction
IN_GROUPS = "stride=1x1x7 pad=1_1x1_1x0_0 lhs_dilate=1x1x8}"
CONVS = {  # x, kernel, y, window and labels of XLA's own convolutions
    "conv forward": (
        "8,16,16,32", "3,3,32,64", "8,16,16,64", f"{PLAIN}, dim_labels=b01f_01io->b01f",
    ),
    "conv input gradient": (
        "8,8,8,64", "3,3,32,64", "8,16,16,32", f"{SPREAD}, dim_labels=b01f_01oi->b01f",
    ),
    "conv filter gradient": (
        "8,16,16,32", "8,8,8,64", "3,3,32,64",
        "window={size=8x8 pad=1_0x1_0 rhs_dilate=2x2}, dim_labels=f01b_i01o->01bf",
    ),
    "groups forward": (
        "8,16,16,8,4", "3,3,8,4,4", "8,16,16,8,4",
        f"window={{size=3x3x8 {IN_GROUPS}, dim_labels=b012f_012io->b012f",
    ),
    "groups filter gradient": (
        "8,16,16,8,4", "8,16,16,8,4", "3,3,8,4,4",
        f"window={{size=16x16x8 {IN_GROUPS}, dim_labels=f012b_i012o->012bf",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("conv forward", 8 * 16 * 16 * 64 * 9 * 32),
        ("conv input gradient", 8 * 8 * 8 * 64 * 9 * 32),
        ("conv filter gradient", 8 * 8 * 8 * 64 * 9 * 32),
        ("groups forward", 8 * 16 * 16 * 32 * 9 * 4),
        ("groups filter gradient", 8 * 16 * 16 * 32 * 9 * 4),
    ],
)
def test_a_conv_s_role_is_in_its_pixels_and_its_name(name, macs):
    x, kernel, y, attributes = CONVS[name]
    scope = FORWARD if name.endswith("forward") else BACKWARD
    found = program(
        parameter("x", f"bf16[{x}]"),
        parameter("k", f"bf16[{kernel}]", 1),
        f"ROOT %c = bf16[{y}] fusion(%x, %k), kind=kOutput, calls=%inner",
        also=computation(
            "inner",
            f"%a = bf16[{x}] parameter(0)",
            f"%b = bf16[{kernel}] parameter(1)",
            f"%c = bf16[{y}] convolution(%a, %b), {attributes}, {named(scope + '/b/conv')}",
            f"ROOT %r = bf16[{y}] negate(%c), {named(scope + '/b/bn/neg')}",
        ),
    )
    kind = name.replace("groups", "conv")
    assert [(k.kind, k.flops) for k in found.kernels] == [(kind, 2 * macs)]


def gemm(op_name: str) -> ProgramCount:
    lines = [
        "%a = bf16[64,32] parameter(0)",
        "%b = bf16[32,16] parameter(1)",
        "ROOT %d = bf16[64,16] dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}, "
        + named(op_name),
    ]
    return program(
        parameter("p", "bf16[64,32]"),
        parameter("q", "bf16[32,16]", 1),
        "ROOT %f = bf16[64,16] fusion(%p, %q), kind=kCustom, calls=%gemm",
        also=computation("gemm", *lines),
    )


def test_products_are_those_of_convs_of_one_pixel_and_se_has_its_own():
    assert gemm(f"{FORWARD}/a/dot_general").by_kind() == {
        "products": Total(1, 2 * (64 * 32 + 32 * 16 + 64 * 16), 2 * 64 * 32 * 16)
    }
    assert [*gemm(f"{FORWARD}/se/reduce/dot_general").by_kind()] == ["se"]


@pytest.mark.parametrize("scope", [FORWARD, BACKWARD])
def test_a_conv_of_one_pixel_is_a_product_in_any_notation(scope):
    found = program(
        parameter("x", "bf16[8,16,16,32]"),
        parameter("k", "bf16[1,1,32,64]", 1),
        "%c = bf16[8,16,16,64] convolution(%x, %k), window={size=1x1}, "
        f"dim_labels=b01f_01io->b01f, {named(scope + '/proj/conv')}",
        "%l = (bf16[8,16,16,64], u8[0]) custom-call(%x, %k), window={size=1x1}, "
        'dim_labels=b01f_01io->b01f, custom_call_target="__cudnn$convForward"',
        "%f = bf16[1,1,32,64] convolution(%x, %c), window={size=16x16}, "
        f"dim_labels=f01b_i01o->01bf, {named(scope + '/a/dot_general')}",
    )
    assert {x.kind for x in found.kernels} == {"products"}
    assert {x.flops for x in found.kernels} == {2 * 8 * 16 * 16 * 32 * 64}


def test_a_conv_of_a_gradient_with_zeros_between_does_more_than_is_of_use():
    """XLA for GPUs writes the zeros of a grouped conv's input gradient."""
    found = program(
        parameter("dy", "bf16[8,7,7,32]"),
        parameter("k", "bf16[32,3,3,8]", 1),
        "%pad = bf16[8,16,16,32] fusion(%dy), kind=kLoop, calls=%pads",
        "ROOT %c = (bf16[8,14,14,32], u8[0]) custom-call(%pad, %k), window={size=3x3}, "
        "dim_labels=b01f_o01i->b01f, feature_group_count=4, "
        f'custom_call_target="__cudnn$convForward", {named(BACKWARD + "/b/conv")}',
        also=computation(
            "pads",
            "%a = bf16[8,7,7,32] parameter(0)",
            "%z = bf16[] constant(0)",
            "ROOT %p = bf16[8,16,16,32] pad(%a, %z), padding=0_0_0x1_2_1x1_2_1x0_0_0",
        ),
    )
    conv = found.kernels[1]
    assert conv.kind == "conv input gradient"
    assert conv.flops == 4 * conv.useful_flops == 2 * 8 * 14 * 14 * 32 * 9 * 8
    zeros = 2 * 8 * 32 * (16 * 16 - 7 * 7)
    assert found.avoidable["zero dilation"] == 2 * zeros  # written, then read
    assert found.avoidable["copies"] == 0
