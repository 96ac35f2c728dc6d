"""The closed forms, against what Tables 1 to 4 print and against counted networks."""

import dataclasses
import re

import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Architecture, Stage
from fastscale_jax.arch.scaling import scaled

# powers of s by which (flops, params, acts) grow, as printed; arXiv:2103.06877
PRINTED = {
    "Table 1, d": ("d", (1, 1, 1)),
    "Table 1, w": ("w", (1, 1, 1 / 2)),
    "Table 1, r": ("r", (1, 0, 1)),
    "Table 2, dw": ("dw", (1, 1, 3 / 4)),
    "Table 2, wr": ("wr", (1, 1 / 2, 3 / 4)),
    "Table 2, dr": ("dr", (1, 1 / 2, 1)),
    "Table 2, dwr": ("dwr", (1, 2 / 3, 5 / 6)),
    "Table 4, dr": ("a0", (1, 0.50, 1.00)),
    "Table 4, dWr": ("dWr", (1, 0.90, 0.60)),
    "Table 4, a0.8": ("a0.8", (1, 0.90, 0.60)),
    "Table 4, w": ("a1", (1, 1.00, 0.50)),
    "equation 6, a0.6": ("a0.6", (1, (1 + 0.6) / 2, (2 - 0.6) / 2)),
}
TABLE_3 = {"w": (1, 1, 1), "g": (1, 1, 0), "wg": (1, 1, 1 / 2)}
FACTORS = (1 / 8, 1, 2, 16, 100)


@pytest.mark.parametrize(("strategy", "powers"), PRINTED.values(), ids=PRINTED)
def test_growth_is_what_the_paper_prints(strategy, powers):
    for s in FACTORS:
        assert arch.growth(strategy, s) == pytest.approx([s**power for power in powers])


@pytest.mark.parametrize("dims", TABLE_3)
def test_growth_of_a_group_conv_is_table_3(dims):
    for s in FACTORS:
        assert arch.group_growth(dims, s) == pytest.approx([s**power for power in TABLE_3[dims]])


@pytest.mark.parametrize(
    "strategy", ["d", "w", "r", "dw", "dr", "wr", "dwr", "dWr", "a0.6", "orig"]
)
@pytest.mark.parametrize("factor", [1 / 8, 8, 50])
def test_a_stage_too_large_for_rounding_to_matter_grows_by_the_closed_form(strategy, factor):
    stage = Stage(depth=2000, width=8192, stride=1, kernel=3, group_width=8192, expansion=1.0)
    network = Architecture(
        name="one dense stage",
        block="bottleneck",
        resolution=8192,
        stem="conv3x3",
        stem_width=8,
        stages=(stage,),
        se_ratio=0.0,
        head_width=0,
        activation="relu",
        num_classes=10,
    )
    grown, _ = scaled(network, strategy, factor=factor)
    ratios = [
        after / before for after, before in zip(arch.count(grown), arch.count(network), strict=True)
    ]
    assert ratios == pytest.approx(list(arch.growth(strategy, factor)), rel=2e-3)


# How far rounding moves a ResNet-50 that is scaled from x16 to x256: depth, of which a stage has
# 3 blocks, is what rounds worst.
TOLERANCE = {"d": 0.025, "w": 0.02, "r": 0.001, "dw": 0.06, "dr": 0.07, "wr": 0.03, "dWr": 0.08}


@pytest.mark.parametrize("strategy", TOLERANCE)
def test_a_resnet_grows_by_the_closed_form_within_its_rounding(strategy):
    base, _ = arch.resolve("resnet", "50")
    small, large = (arch.count(scaled(base, strategy, factor=s)[0]) for s in (16, 256))
    ratios = [after / before for after, before in zip(large, small, strict=True)]
    expected = list(arch.growth(strategy, 16))
    assert ratios == pytest.approx(expected, rel=TOLERANCE[strategy])


@pytest.mark.parametrize(
    ("dims", "width", "group_width"), [("w", 1024, 16), ("g", 256, 64), ("wg", 512, 32)]
)
def test_a_group_conv_grows_by_table_3(dims, width, group_width):
    base, _ = arch.resolve("regnetx")
    convs = [
        next(
            layer
            for layer in arch.layers(dataclasses.replace(base, stages=(Stage(1, w, 1, 3, g, 1.0),)))
            if layer.name == "s1.b1.b"
        )
        for w, g in ((256, 16), (width, group_width))
    ]
    weights = [conv.params - 2 * conv.width for conv in convs]  # BatchNorm is not in the formula
    ratios = (
        convs[1].flops / convs[0].flops,
        weights[1] / weights[0],
        convs[1].acts / convs[0].acts,
    )
    assert ratios == arch.group_growth(dims, 4)


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), "2", None, True, 10**400])
def test_growth_refuses_a_factor_that_is_not_above_zero(factor):
    for refused in (lambda: arch.growth("w", factor), lambda: arch.group_growth("w", factor)):
        with pytest.raises(ValueError, match="factor must be a finite number above 0; got"):
            refused()


def test_growth_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown strategy 'wd'"):
        arch.growth("wd", 2)
    for dims in ("d", ["w"], None):
        message = f"unknown dims {dims!r}; choose one of w, g, wg"
        with pytest.raises(ValueError, match=re.escape(message)):
            arch.group_growth(dims, 2)
