"""Arrays of a checkpoint are summed up and checked alike, on the host and on devices."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastscale_jax.checkpoints import fingerprint
from fastscale_jax.train import divergence
from fastscale_jax.utils.host_arrays import on_host
from tests.commands import REPOSITORY

DTYPES = ("float32", "bfloat16", "float16", "int32", "uint8", "bool")


@pytest.fixture(params=["host", "devices"])
def anywhere(request, monkeypatch):
    if request.param == "devices":
        elsewhere(monkeypatch)


def elsewhere(monkeypatch):
    """As if a CPU were something else."""
    for module in (divergence, fingerprint):
        monkeypatch.setattr(module, "on_host", lambda x: None)


def arrays():
    draw = np.random.default_rng(0)
    found = {dtype: jnp.asarray(draw.normal(size=(3, 5, 7)) * 9).astype(dtype) for dtype in DTYPES}
    return {**found, "step": jnp.asarray(7), "again": {"float32": found["float32"][0]}}


def test_the_fingerprint_is_the_same_wherever_it_is_computed(monkeypatch):
    given = arrays()
    on_the_host = fingerprint.fingerprint(given)
    assert on_the_host.keys() == {*DTYPES, "step", "again/float32"}
    elsewhere(monkeypatch)
    assert fingerprint.fingerprint(given) == on_the_host
    read = jax.tree.map(np.asarray, given)
    assert fingerprint.fingerprint_of_numpy(read) == on_the_host


def test_values_of_64_bits_are_refused():
    with pytest.raises(ValueError, match="up to 32 bits, not of float64"):
        fingerprint.fingerprint_of_numpy({"a": np.zeros(2)})


@pytest.mark.usefixtures("anywhere")
def test_one_value_changes_one_number():
    given = arrays()
    before = fingerprint.fingerprint(given)
    given["float32"] = given["float32"].at[1, 2, 3].add(1e-6)
    after = fingerprint.fingerprint(given)
    assert {path for path in before if before[path] != after[path]} == {"float32"}


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_single_value_that_is_no_number_is_found(bad):
    given = arrays()
    assert divergence.is_finite(given) is True
    given["bfloat16"] = given["bfloat16"].at[2, 4, 6].set(bad)
    assert divergence.is_finite(given) is False


def test_arrays_of_numpy_s_are_there_already():
    given = {"x": np.arange(4.0, dtype=np.float32), "step": 3}
    assert fingerprint.fingerprint({"x": given["x"]}) == fingerprint.fingerprint(
        {"x": jnp.arange(4.0)}
    )
    assert divergence.is_finite(given)
    assert not divergence.is_finite({**given, "x": np.full(3, np.inf)})


def test_an_array_on_the_host_is_not_copied():
    x = jnp.arange(4.0)
    assert on_host(x).__array_interface__["data"][0] == x.unsafe_buffer_pointer()


def test_on_the_host_nothing_is_compiled():
    given, compiled = arrays(), []
    jax.block_until_ready(given)
    listener = lambda name, *_, **__: compiled.append(name)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        fingerprint.fingerprint(given)
        divergence.is_finite(given)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert compiled == []


SHARED_OUT = """
import json
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from fastscale_jax.train import divergence
from fastscale_jax.checkpoints import fingerprint
from fastscale_jax.utils.host_arrays import on_host
from fastscale_jax.distributed.sharding import device_mesh

mesh = device_mesh(jax.devices())
x = np.arange(24, dtype=np.float32).reshape(8, 3)

def placed(x, *axes):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*axes)))

shared_out, everywhere = placed(x, mesh.axis_names[0]), placed(x)
bad = x.copy()
bad[7, 2] = np.nan
bad_share, bad_everywhere = placed(bad, mesh.axis_names[0]), placed(bad)
pairs = (shared_out, everywhere), (bad_share, everywhere), (shared_out, bad_everywhere)
found = {
    "on the host": [on_host(leaf) is not None for leaf in pairs[0]],
    "is finite": [divergence.is_finite(pair) for pair in pairs],
    "fingerprint": fingerprint.fingerprint({"x": shared_out, "y": everywhere}),
}
print(json.dumps(found))
"""


def test_arrays_that_devices_share_are_looked_at_there():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", SHARED_OUT]
    said = subprocess.check_output(command, cwd=REPOSITORY, env=environment, text=True)
    x = np.arange(24, dtype=np.float32).reshape(8, 3)
    assert json.loads(said) == {
        "on the host": [False, True],
        "is finite": [True, False, False],
        "fingerprint": fingerprint.fingerprint_of_numpy({"x": x, "y": x}),
    }
