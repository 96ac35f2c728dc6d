"""The table of a network's parameters against the counter, clu's own overview and NumPy."""

import collections
import dataclasses
import functools
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from clu.parameter_overview import get_parameter_overview
from rich.console import Console

from fastscale_jax.arch import (
    FAMILIES,
    as_architecture,
    count,
    layers,
    model_config,
    parameter_names,
)
from fastscale_jax.cost import parameters
from fastscale_jax.models import build, initial_variables
from tests.commands import REPOSITORY
from tests.compiler import QUICKLY


@functools.cache
def network_of(family):
    """Of each stage a block that changes shape, and one with a skip."""
    found = as_architecture(model_config(family))
    stages = tuple(stage._replace(depth=min(stage.depth, 2)) for stage in found.stages)
    return dataclasses.replace(found, stages=stages)


@pytest.fixture(scope="module")
def network():
    """A small one, of every kind of layer."""
    found = network_of("regnetz")
    return dataclasses.replace(found, stages=found.stages[:2], resolution=32, num_classes=10)


@pytest.fixture(scope="module")
def weights(network):
    init = functools.partial(initial_variables, build(network))
    return jax.jit(init, compiler_options=QUICKLY)(jax.random.key(0))["params"]


def shown(table):
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sizes_are_those_counted_layer_by_layer(family):
    network, sizes = network_of(family), collections.Counter()
    rows = parameters.rows(network)
    for row in rows:
        assert row["size"] == np.prod(row["shape"])
        layer, _, kind = row["name"].rpartition(".")
        assert kind in ("kernel", "bias", "scale")  # no running statistics
        sizes[layer.removesuffix(".bn")] += row["size"]
    wanted = {layer.name: layer.params for layer in layers(network) if layer.params}
    assert list(sizes) == list(wanted)  # in the order of the network
    assert sizes == wanted
    assert sizes.total() == count(network).params
    # and the names are known without JAX
    assert [row["name"] for row in rows] == [*parameter_names(network)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_overview_counts_what_clu_s_own_does(family):
    network = network_of(family)
    shapes = parameters.shapes(network)
    total, size = count(network).params, 4 * count(network).params
    whole = get_parameter_overview(shapes, include_stats=False)
    assert whole.splitlines()[-1] == f"Total: {total:,} -- {size:,} bytes"
    arrays = len(whole.splitlines()) - 5  # three lines of frame, the heads, the total
    wanted = f"{arrays} arrays, {total:,} parameters, {size / 1e6:,.4g} MB"
    assert parameters.overview(network) == parameters.overview(network, shapes) == wanted


def test_of_weights_that_fit_no_memory_there_is_a_table(network):
    wide = dataclasses.replace(network, head_width=10**6, num_classes=10**6)
    assert count(wide).params > 10**12  # so that no array can have been made
    assert sum(row["size"] for row in parameters.rows(wide)) == count(wide).params
    assert parameters.overview(wide).endswith("GB")


def test_without_values_there_are_no_columns_for_them(network):
    assert all(row.keys() == {"name", "shape", "dtype", "size"} for row in parameters.rows(network))
    for said in (shown(parameters.parameters_table(network)), parameters.text(network)):
        assert "mean" not in said.lower()
        assert "std" not in said.lower()


def test_means_and_deviations_are_those_of_the_values(network, weights):
    rows = json.loads(json.dumps(parameters.rows(network, weights)))
    by_name = {row["name"]: row for row in rows}
    assert len(by_name) == len(jax.tree.leaves(weights))
    kernel = np.asarray(weights["s2"]["b1"]["a"]["kernel"], np.float64)
    row = by_name["s2.b1.a.kernel"]
    assert (row["shape"], row["dtype"]) == (list(kernel.shape), "float32")
    assert row["mean"] == pytest.approx(kernel.mean(), rel=1e-12)
    assert row["std"] == pytest.approx(kernel.std(), rel=1e-12)
    scale = by_name["stem.conv.bn.scale"]
    assert (scale["mean"], scale["std"]) == (1, 0)
    lines = shown(parameters.parameters_table(network, weights)).splitlines()
    line = next(line for line in lines if "s2.b1.a.kernel" in line)
    assert f"{kernel.mean():.3g}" in line
    assert f"{kernel.std():.3g}" in line


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_json_has_null_for_what_is_no_number(network, weights, bad):
    broken = jax.tree.map(np.array, weights)
    broken["head"]["fc"]["bias"][0] = bad
    row = parameters.rows(network, broken)[-2]
    assert row["name"] == "head.fc.bias"
    assert row["std"] is None
    assert "NaN" not in json.dumps(parameters.rows(network, broken))
    assert "nan" in shown(parameters.parameters_table(network, broken))


def test_the_table_ends_with_the_total(network):
    lines = shown(parameters.parameters_table(network)).splitlines()
    total = next(line for line in lines if "total" in line)
    assert f"{count(network).params:,}" in total
    assert parameters.overview(network) in lines[-1]
    assert any("s2.b1.se.reduce.kernel" in line for line in lines)


def test_a_text_can_be_cut_and_still_counts_all(network):
    whole, cut = parameters.text(network), parameters.text(network, max_lines=10)
    assert len(cut.splitlines()) <= 11 < len(whole.splitlines())
    assert cut.splitlines()[:5] == whole.splitlines()[:5]
    assert cut.splitlines()[-1] == whole.splitlines()[-1] == parameters.overview(network)


def imported(code, *names):
    """Which of some packages a program imports, with warnings as errors."""
    code = f"import sys\n{code}\nprint(sorted({set(names)} & set(sys.modules)))"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_clu_brings_no_tensorflow():
    code = """
from fastscale_jax.arch import as_architecture, model_config
from fastscale_jax.cost import parameters
from fastscale_jax.logs import meter
parameters.text(as_architecture(model_config("regnetx")))
"""
    assert imported(code, "clu", "tensorflow", "torch") == "['clu']"


def test_commands_that_need_no_jax_do_not_import_clu():
    code = """
from fastscale_jax import main
from fastscale_jax.logs import plots, progress, records
"""
    assert imported(code, "clu", "jax") == "[]"
