"""Programs for devices that are not here: read, chosen, and interpolated between."""

import dataclasses
import json

import pytest

from fastscale_jax.arch import Complexity
from fastscale_jax.report import between, compiled, on_targets
from fastscale_jax.report.networks import cost

KEY = "regnetz:500mf"


def program(factor, date="2026-11-28", strategy="dWr", power=0.7, **changes):
    """A made-up program whose figures are powers of the activations."""
    strategy = strategy if factor != 1 else ""
    of = cost(KEY, strategy or "dWr", float(factor))
    floor_ms, memory = of.acts**power / 1000, 2 * of.acts**power
    figures = {"images": 128, "is_largest": False, "floor_ms": floor_ms, "memory_bytes": memory}
    figures["floor_operations_ms"] = 0.1 * floor_ms
    values = {**figures, "fits": True, "date": date, "versions": "jax 1", **changes}
    return compiled.Compiled(
        target="gpu:h100",
        base=KEY,
        strategy=strategy,
        factor=float(factor),
        cost=of,
        dtype="bfloat16",
        **values,
    )


def network(factor, strategy="dWr"):
    return on_targets.Network("v", KEY, strategy, float(factor), cost(KEY, strategy, float(factor)))


def figures(programs, of):
    """What the explorer has of one network, by setting."""
    shown = on_targets.shown(programs, [of])
    return {
        shown["settings"][row[0]]["target"]: dict(zip(shown["fields"], row, strict=True))
        for row in shown["networks"].get("v", [])
    }


def record(factor=8.0, **changes):
    """A line of a file of programs."""
    (found,) = (
        line
        for line in map(json.loads, compiled.PACKAGED.read_text().splitlines())
        if (line["base"], line["strategy"], line["factor"]) == (KEY, "a1", factor)
        and line["machine"]["device"] == "gpu:h100"
    )
    return {**found, **changes}


def test_every_packaged_program_is_of_a_network_as_it_is_counted_here():
    found = compiled.read(())
    assert {each.target for each in found} == {"gpu:h100", "gpu:a100", "gpu:v100", "tpu:v5e"}
    assert all(each.floor_ms > 0 and each.memory_bytes > 0 for each in found)
    assert all(0 <= each.floor_operations_ms < each.floor_ms for each in found)
    assert {each.setting[2] for each in found} == {0, 128}


def test_a_file_of_one_s_own_joins_the_packaged_programs(tmp_path):
    path = tmp_path / "own.jsonl"
    later = {**record()["machine"], "date": "2027-01-01"}
    path.write_text(json.dumps(record(floor_ms=1.5, machine=later)) + "\n")
    own, packaged = compiled.read([path]), compiled.read(())
    (new,) = {*own} - {*packaged}
    assert (new.floor_ms, new.date) == (1.5, "2027-01-01")
    # the newest of a network is shown
    assert figures(own, network(8, "a1"))["gpu:h100"]["floor_ms"] == 1.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flops": 1}, "regnetz:500mf a1 x8, jax has other flops, params or acts in this version"),
        ({"machine": {"date": "2027-01-01", "device": "gpu:h100"}}, "these are no compiled"),
    ],
)
def test_a_program_that_cannot_be_shown_is_refused(tmp_path, changes, words):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(record(**changes)) + "\n")
    with pytest.raises(ValueError, match=words):
        compiled.read([path])


def test_a_file_of_measured_points_has_no_program(tmp_path):
    path = tmp_path / "own.jsonl"
    measured = {name: value for name, value in record().items() if name != "floor_ms"}
    path.write_text(json.dumps(measured) + "\n")
    with pytest.raises(ValueError, match="there is no compiled program"):
        compiled.read([path])


def test_a_power_of_the_activations_is_interpolated_exactly():
    found = between.between(program(4), program(8), cost(KEY, "dWr", 5.623))
    wanted = program(5.623)
    assert found.floor_ms == pytest.approx(wanted.floor_ms, rel=1e-9)
    assert found.memory_bytes == pytest.approx(wanted.memory_bytes, rel=1e-6)
    assert list(between.errors([program(2), program(4), program(8)])) == [
        (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-5))
    ]


def test_equal_activations_are_in_the_middle():
    low, high = program(4), program(8)
    of = Complexity(1, 1, 100)
    found = between.between(
        dataclasses.replace(low, cost=of), dataclasses.replace(high, cost=of), of
    )
    assert found.floor_ms == pytest.approx((low.floor_ms * high.floor_ms) ** 0.5)


def test_what_was_compiled_is_shown_and_not_interpolated():
    shown = figures([program(2), program(4), program(8)], network(4))["gpu:h100"]
    assert shown["between"] is None
    assert shown["floor_ms"] == pytest.approx(program(4).floor_ms, rel=1e-4)
    assert figures([program(2), program(8)], network(4))["gpu:h100"]["between"] == (2, 8)


@pytest.mark.parametrize(
    "programs",
    [
        [program(2), program(16)],  # too far apart
        [program(2), program(3)],  # beyond the largest
        [program(2), program(8, date="2026-11-29")],  # of different code, maybe
        [program(2), program(8, images=256)],
        [program(2), program(8, is_largest=True)],
        [program(2, strategy="w"), program(8, strategy="w")],
        [],
    ],
)
def test_where_nothing_is_near_there_is_no_figure(programs):
    assert figures(programs, network(4)) == {}


def test_names_of_one_strategy_have_the_same_programs():
    shown = figures([program(4, strategy="dWr")], network(4, "a0.8"))
    assert shown == figures([program(4, strategy="dWr")], network(4))
    assert shown["gpu:h100"]["between"] is None
    assert figures([program(4, strategy="w")], network(4, "a0.8")) == {}


def test_an_interpolated_step_that_is_too_large_does_not_fit():
    low, high = program(2, memory_bytes=10**10), program(8, memory_bytes=10**12)
    large, small = cost(KEY, "dWr", 7.499), cost(KEY, "dWr", 2.054)
    found = [between.between(low, high, of).memory_bytes for of in (small, large)]
    shown = [figures([low, high], network(factor))["gpu:h100"] for factor in (2.054, 7.499)]
    assert [each["memory_bytes"] for each in shown] == found
    assert [each["fits"] for each in shown] == [True, False]


def test_how_far_interpolation_is_off_is_found_by_leaving_out():
    programs = compiled.read(())
    networks = [network(2, strategy) for strategy in ("dWr", "a0.8", "w")]
    off_by = on_targets.shown(programs, networks)["off_by"]
    assert 0 < off_by["floor"]["median"] < 0.05 < off_by["floor"]["most"] < 0.25
    lines = [each for name in ("dWr", "w") for each in between.lines(programs, KEY, name)]
    errors = [error for line in lines for error in between.errors(line)]
    assert off_by["floor"]["most"] == round(max(floor for floor, _ in errors), 4)
