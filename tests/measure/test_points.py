"""The file of results: what is there twice, cut off, or does not belong together."""

import dataclasses

import pytest

from fastscale_jax.arch import count
from fastscale_jax.measure import points
from tests.golden_files import golden
from tests.measure.curve_points import MACHINE, record, specs


def test_each_network_is_in_the_grid_once():
    found = specs()
    assert len(found) == len(set(found)) == 2 * 2 * (1 + 2 * 4)
    assert {spec.factor for spec in found if not spec.strategy} == {1}
    factors = [spec.factor for spec in found if spec.framework == "jax"]
    assert factors == sorted(factors)  # small ones first


def test_the_paper_s_rows_are_its_own_networks():
    found = points.paper_rows(["jax", "torch"], batch_size=8, dtype="float32", resolution=0)
    assert len(found) == len(set(found)) == 2 * 21
    costs = [count(spec.network()).flops for spec in found]
    assert costs == sorted(costs)
    exact = [row["exact"] for row in golden("paper") if "exact" in row]
    assert costs == sorted(row["flops"] for row in exact for _ in range(2))


def test_the_base_s_resolution_is_scaled():
    (base, scaled) = points.grid(
        ["regnetz:500mf"], ["r"], [1, 4], ["jax"], batch_size=1, dtype="float32", resolution=128
    )
    assert (base.network().resolution, scaled.network().resolution) == (128, 256)


def test_what_is_written_is_read_and_the_fastest_of_a_point_counts(tmp_path):
    file = tmp_path / "folder" / "results.jsonl"
    assert points.read(file) == []
    first, second, *_ = specs()
    points.append(file, {**vars(first), "error": "noisy"})
    points.append(file, record(second, lambda _: 2.0))
    points.append(file, record(first, lambda _: 3.0))
    points.append(file, record(first, lambda _: 5.0))
    found = points.read(file)
    assert [(points.spec_of(r), r["step_ms"]) for r in found] == [(first, 3.0), (second, 2.0)]
    assert [r["rounds"] for r in found] == [3, 1]
    assert "error" not in found[0]


def test_a_last_line_that_was_cut_off_is_passed_over_and_the_next_one_begins_anew(tmp_path):
    file = tmp_path / "results.jsonl"
    first, second, *_ = specs()
    points.append(file, record(first, lambda _: 1.0))
    whole = file.read_text()
    file.write_text(whole + whole[:50])
    assert [points.spec_of(r) for r in points.read(file)] == [first]
    points.append(file, record(second, lambda _: 2.0))
    assert [points.spec_of(r) for r in points.read(file)] == [first, second]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"step": 1}\n{"step": 2}\n', "other.jsonl, line 1, is no point of a curve"),
        ("a line without an end", "other.jsonl is no file of points"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, words):
    file = tmp_path / "other.jsonl"
    file.write_text(text)
    with pytest.raises(ValueError, match=words):
        points.read(file)


def test_what_a_framework_does_not_use_makes_no_difference():
    """PyTorch may be installed, and renewed, after JAX was measured."""
    of = {spec.framework: spec for spec in specs()}
    later = {**MACHINE, "versions": {"jax": "1", "torch": "2"}}
    together = [
        record(specs()[0], lambda _: 1.0),
        record(of["jax"], lambda _: 1.0, machine=later),
        record(of["torch"], lambda _: 1.0, machine=later),
    ]
    points.check_same_machine(together)
    newer = {**MACHINE, "versions": {"torch": "3"}}
    with pytest.raises(ValueError, match="do not belong together"):
        points.check_same_machine([*together, record(specs()[-1], lambda _: 1.0, machine=newer)])


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": {**MACHINE, "device": "Another"}},
        {"machine": {**MACHINE, "versions": {"jax": "2"}}},
        {"dtype": "bfloat16"},
    ],
)
def test_results_that_do_not_belong_together_are_listed(changes):
    first, second, third, *_ = specs()
    same = [record(spec, lambda _: 1.0) for spec in (first, second)]
    points.check_same_machine([*same, {**vars(third), "error": "of no device"}])
    with pytest.raises(ValueError, match=r"together: 2 points of A device.*; 1 point of"):
        points.check_same_machine([*same, record(third, lambda _: 1.0, **changes)])


def test_points_of_several_kinds_do_not_make_one_curve():
    first, second, *_ = specs()
    points.check_alike([first, second])
    for change in ({"batch_size": 16}, {"dtype": "bfloat16"}, {"resolution": 64}):
        with pytest.raises(
            ValueError, match="do not make one curve; use one file for each: batches"
        ):
            points.check_alike([first, dataclasses.replace(second, **change)])


def test_a_compiled_point_replaces_one_that_failed():
    failed, compiled = {"error": "timed out"}, {"floor_ms": 3.0}
    first = points.merged(None, failed)
    assert points.merged(first, compiled) == {"floor_ms": 3.0, "rounds": 2}
    assert points.merged(points.merged(None, compiled), failed)["floor_ms"] == 3.0
