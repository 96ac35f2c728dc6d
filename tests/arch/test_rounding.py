"""The rounding rules, at their edges."""

import pytest

from fastscale_jax.arch.rounding import divisible, to_group_width, to_multiple


@pytest.mark.parametrize(
    ("value", "multiple"), [(1, 8), (4, 8), (11.9, 8), (12, 16), (12.1, 16), (20, 16), (28, 32)]
)
def test_widths_go_to_the_nearest_multiple_of_eight_and_halves_to_the_even_one(value, multiple):
    assert to_multiple(value, 8) == multiple


@pytest.mark.parametrize(
    ("value", "group_width"),
    [(0.2, 1), (1.5, 2), (2.4, 2), (2.6, 4), (3, 4), (5.4, 4), (5.6, 8), (12, 16), (19, 16)],
)
def test_group_widths_are_one_two_four_or_a_multiple_of_eight(value, group_width):
    assert to_group_width(value) == group_width


@pytest.mark.parametrize(
    ("width", "group_width", "expansion", "fitted"),
    [
        pytest.param(48, 16, 1.0, (48, 16), id="divides already"),
        pytest.param(56, 16, 1.0, (64, 16), id="nearest: 3.5 groups go to 4"),
        pytest.param(40, 16, 1.0, (32, 16), id="nearest: 2.5 groups go to 2"),
        pytest.param(24, 64, 1.0, (24, 24), id="no more than the width"),
        pytest.param(256, 24, 0.25, (288, 24), id="inner width 64 goes to 72"),
        pytest.param(24, 16, 4.0, (24, 16), id="inner width 96 divides"),
        pytest.param(16, 24, 4.0, (18, 24), id="the inner width counts, not the output's"),
        pytest.param(40, 16, 6.0, (40, 16), id="multiple of group width and expansion"),
    ],
)
def test_widths_become_divisible_by_their_groups(width, group_width, expansion, fitted):
    assert divisible(width, group_width, expansion) == fitted


@pytest.mark.parametrize("expansion", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_fitted_groups_divide_and_move_the_inner_width_by_a_third_at_most(expansion):
    for width in range(8, 520, 8):
        for group_width in (1, 2, 4, *range(8, 264, 8)):
            fitted, group = divisible(width, group_width, expansion)
            inner = round(fitted * expansion)
            assert group <= group_width
            assert inner % group == 0
            assert abs(inner - width * expansion) <= width * expansion / 3
