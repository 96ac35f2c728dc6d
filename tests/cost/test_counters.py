"""The counters side by side, and what is said of their differences."""

import dataclasses
import json

import pytest

from fastscale_jax.arch import as_architecture, count, layers, model_config
from fastscale_jax.cost import counters
from tests.commands import TINY, run

INFO = ("--config=configs/regnetz.py", "--mode=info")


@pytest.mark.usefixtures("compiled_quickly")
def test_every_difference_has_its_reason_with_the_figure():
    whole = as_architecture(model_config("regnetz", "500mf"))
    # of each stage a block that changes shape, and one with a skip
    stages = tuple(stage._replace(depth=min(stage.depth, 2)) for stage in whole.stages)
    network = dataclasses.replace(whole, stages=stages)
    rows, figures = counters.counted(network, counters.COUNTERS)
    wanted, stem = count(network), next(layers(network))
    assert figures["analytic"] == wanted._asdict()
    assert {k: figures["jaxpr"][k] for k in wanted._fields} == wanted._asdict()
    biases = wanted.flops - figures["xla"]["flops"]
    padding = figures["xla"]["flops"] - figures["xla"]["flops_without_padding"]
    notes = [row.note for row in rows]
    assert notes[:2] == ["", ""]
    gradient = 3 * (wanted.flops - biases) - stem.flops + biases
    assert figures["jaxpr"]["gradient_flops"] == gradient
    times = f"{gradient / wanted.flops:.4f}"
    assert notes[2].startswith(f"{times} times the network: each conv and product costs")
    assert notes[3] == f"to XLA, biases ({biases:,}) are separate additions"
    assert f"without the {padding:,} (0.7%) on padding" in notes[4]
    assert rows[4].flops == 2 * figures["xla"]["flops_without_padding"]
    assert figures["xla"]["temp_bytes"] > 4 * 256 * 112 * 112 / 8  # at least a large activation
    assert figures["jaxpr"]["gradient_flops"] - biases == figures["xla"]["gradient_flops"]
    assert not any("please report" in note for note in notes)


def test_the_command_prints_one_json_object_with_the_counters_asked_for():
    result = run(*TINY, "--mode=info", "--counters=jaxpr,analytic", "--format=json")
    assert (result.returncode, result.stderr) == (0, "")
    said = json.loads(result.stdout)
    assert said["counters"].keys() == {"jaxpr", "analytic"}
    assert said["counters"]["jaxpr"]["flops"] == said["flops"]


@pytest.mark.slow
def test_the_table_has_a_row_for_each_figure_and_numbered_notes():
    result = run(*INFO, "--counters=jaxpr")
    assert result.returncode == 0
    assert "506,892,070" in result.stdout
    assert "1,509,811,622" in result.stdout
    assert "\n1  2.9786 times the network" in result.stdout


@pytest.mark.parametrize("given", ["jax", "", "analytic,hlo"])
def test_an_unknown_counter_is_refused_with_the_known_ones(given):
    result = run(*INFO, f"--counters={given}")
    assert (result.returncode, result.stdout) == (2, "")
    assert "give some of analytic, jaxpr and xla" in result.stderr
    assert len(result.stderr.splitlines()) == 1
