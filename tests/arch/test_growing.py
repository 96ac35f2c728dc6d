"""`arch.grow`: what it accepts, and what it refuses before any arithmetic."""

import math

import numpy as np
import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Multipliers

BASE, _ = arch.resolve("regnety", "500mf")


@pytest.mark.parametrize("form", [list, np.asarray], ids=["list", "array"])
def test_multipliers_of_each_stage_may_be_a_list_or_an_array(form):
    vector = (1.0, 2.0, 1.5, 1.0)
    wanted = arch.grow(BASE, Multipliers(vector, vector, 1.0, 1.2))
    assert arch.grow(BASE, Multipliers(form(vector), form(vector), 1.0, 1.2)) == wanted


def test_the_network_may_be_a_config():
    by = Multipliers(1.2, 1.1, 1.1, 1.15)
    assert arch.grow(BASE.to_config(), by) == arch.grow(BASE, by)


def test_numbers_of_numpy_are_numbers():
    by = Multipliers(np.float32(2), np.int64(2), 1, np.float64(2))
    grown = arch.grow(BASE, by, max_resolution=np.int64(300))
    wanted = arch.grow(BASE, Multipliers(2.0, 2.0, 1.0, 2.0), max_resolution=300)
    assert grown == wanted
    by = Multipliers(np.asarray(2.0), np.int8(2), np.float16(1), np.asarray(2))
    assert arch.grow(BASE, by, max_resolution=300) == wanted
    by = Multipliers(2.0, np.full(4, 2, np.int8), 1.0, 2.0)
    assert arch.grow(BASE, by, max_resolution=300) == wanted


@pytest.mark.parametrize("limit", [100, 223])
def test_a_limit_below_the_base_is_refused_as_scale_refuses_it(limit):
    message = f"^max_resolution {limit} is below the 224 pixels of regnety-500mf$"
    with pytest.raises(ValueError, match=message):
        arch.grow(BASE, Multipliers(1.0, 1.0, 1.0, 1.0), max_resolution=limit)
    with pytest.raises(ValueError, match=message):
        arch.scale(BASE, "dWr", factor=4, max_resolution=limit)


@pytest.mark.parametrize("limit", [-1, 255.5, math.nan, "300", True])
def test_a_limit_that_is_no_number_of_pixels_is_refused(limit):
    with pytest.raises(ValueError, match="max_resolution must be a whole number above 0; got"):
        arch.grow(BASE, Multipliers(1.0, 1.0, 1.0, 1.0), max_resolution=limit)


WRONG = (-1.0, 0, math.nan, math.inf, 1e300, "2", None, True, (), (1.0, 1.0, 0.0, 1.0), ("2",) * 4)


@pytest.mark.parametrize("field", ["d", "w", "g", "r"])
@pytest.mark.parametrize("value", [*WRONG, [1.0, math.nan, 1.0, 1.0], {"s1": 2.0}], ids=str)
def test_a_multiplier_that_is_no_number_above_0_is_refused(field, value):
    by = Multipliers(1.0, 1.0, 1.0, 1.0)._replace(**{field: value})
    with pytest.raises(ValueError, match=rf"^{field} must be a number above 0, at most") as refusal:
        arch.grow(BASE, by)
    assert "\n" not in str(refusal.value)


def test_vectors_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="w has multipliers for 3 stages; regnety-500mf has 4"):
        arch.grow(BASE, Multipliers(1.0, (1.0, 1.0, 2.0), 1.0, 1.0))
    with pytest.raises(ValueError, match=r"^r must be a number above 0"):
        arch.grow(BASE, Multipliers(1.0, 1.0, 1.0, (1.0, 1.0, 1.0, 1.0)))


@pytest.mark.parametrize("by", [(1.0, 1.0, 1.0, 1.0), {"d": 2.0}, 2.0, None], ids=str)
def test_what_is_not_multipliers_is_refused(by):
    with pytest.raises(ValueError, match=r"by must be arch\.Multipliers\(d, w, g, r\); got"):
        arch.grow(BASE, by)
