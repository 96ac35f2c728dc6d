"""A network that was found is scaled as a named one is."""

import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Architecture, model_config
from fastscale_jax.search.hybrid import check, scaled_up


@pytest.mark.parametrize(("scaling", "factor"), [("dWr_x4", 4.0), ("w_x2.5", 2.5)])
def test_it_scales_as_the_variants_do(scaling, factor):
    base = model_config("regnety", "500mf")
    found = scaled_up(Architecture.from_config(base), scaling)
    wanted = arch.scale(base, scaling.split("_")[0], factor=factor)
    assert arch.count(found) == arch.count(wanted)
    assert found.name == wanted.name


@pytest.mark.parametrize("scaling", ["dWr", "dWr_4", "500mf_dWr_x4", "x4", "up_x4", "dWr_xx"])
def test_what_is_no_scaling_is_refused(scaling):
    with pytest.raises(ValueError, match=r"unknown strategy|is no scaling; write"):
        check(scaling)
