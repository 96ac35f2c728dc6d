"""Colours can be read on light and on dark grounds."""

import pytest

from fastscale_jax.display.contrast import DARK, LEAST, contrast, on_dark
from fastscale_jax.display.draw import STYLES
from fastscale_jax.display.origins import Origin


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    # of the W3C's own examples
    [("#000000", "#ffffff", 21), ("#777777", "#ffffff", 4.48), ("#767676", "#ffffff", 4.54)],
)
def test_contrast_is_wcag_s(one, other, wanted):
    assert contrast(one, other) == pytest.approx(wanted, abs=0.005)
    assert contrast(other, one) == contrast(one, other)


@pytest.mark.parametrize(
    "color",
    sorted({origin.color for origin in Origin} | {style.color for style in STYLES.values()}),
)
def test_every_colour_has_one_for_dark_grounds(color):
    assert contrast(on_dark(color), DARK) >= LEAST
    assert contrast(color, "#ffffff") >= 3  # what lines and marks need


@pytest.mark.parametrize("origin", Origin)
def test_letters_of_origins_can_be_read_on_white(origin):
    assert contrast(origin.color, "#ffffff") >= 4.5


def test_what_is_light_already_stays():
    assert on_dark("#ffffff") == "#ffffff"
    assert on_dark("#e0aa4f") == "#e0aa4f"


def test_what_no_colour_can_reach_is_refused():
    with pytest.raises(ValueError, match="no colour has a contrast of 21"):
        on_dark("#000000", "#777777", 21)
