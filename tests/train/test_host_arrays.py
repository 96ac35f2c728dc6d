"""Arrays of a checkpoint are summed up and checked alike, on the host and on devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax.train import divergence, fingerprint
from fastscale_jax.train.host_arrays import on_host

DTYPES = ("float32", "bfloat16", "float16", "int32", "uint8", "bool")


@pytest.fixture(params=["host", "devices"], autouse=True)
def where(request, monkeypatch):
    if request.param == "devices":  # as if a CPU were something else
        for module in (divergence, fingerprint):
            monkeypatch.setattr(module, "on_host", lambda x: None)
    return request.param


def arrays():
    draw = np.random.default_rng(0)
    found = {dtype: jnp.asarray(draw.normal(size=(3, 5, 7)) * 9).astype(dtype) for dtype in DTYPES}
    return {**found, "step": jnp.asarray(7), "again": {"float32": found["float32"][0]}}


def test_the_fingerprint_is_that_of_numpy_s_arrays():
    given = arrays()
    wanted = fingerprint.fingerprint_of_numpy(jax.tree.map(np.asarray, given))
    assert fingerprint.fingerprint(given) == wanted
    assert wanted.keys() == {*DTYPES, "step", "again/float32"}


def test_one_value_changes_one_number():
    given = arrays()
    before = fingerprint.fingerprint(given)
    given["float32"] = given["float32"].at[1, 2, 3].add(1e-6)
    after = fingerprint.fingerprint(given)
    assert {path for path in before if before[path] != after[path]} == {"float32"}


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_single_value_that_is_no_number_is_found(bad):
    given = arrays()
    assert divergence.is_finite(given) is True
    given["bfloat16"] = given["bfloat16"].at[2, 4, 6].set(bad)
    assert divergence.is_finite(given) is False


def test_an_array_on_the_host_is_not_copied():
    x = jnp.arange(4.0)
    assert on_host(x).__array_interface__["data"][0] == x.unsafe_buffer_pointer()
