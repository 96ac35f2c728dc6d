"""The file of results: what is there twice, cut off, or does not belong together."""

import json

import pytest

from fastscale_jax.measure import points
from tests.measure.curve_points import MACHINE, record, specs


def test_each_network_is_in_the_grid_once():
    found = specs()
    assert len(found) == len(set(found)) == 2 * 2 * (1 + 2 * 4)
    assert {spec.factor for spec in found if not spec.strategy} == {1}
    factors = [spec.factor for spec in found if spec.framework == "jax"]
    assert factors == sorted(factors)  # small ones first


def test_the_base_s_resolution_is_scaled():
    (base, scaled) = points.grid(
        ["regnetz:500mf"], ["r"], [1, 4], ["jax"], batch_size=1, dtype="float32", resolution=128
    )
    assert (base.network().resolution, scaled.network().resolution) == (128, 256)


def test_what_is_written_is_read_and_the_last_of_a_point_counts(tmp_path):
    file = tmp_path / "folder" / "results.jsonl"
    assert points.read(file) == []
    first, second, *_ = specs()
    points.append(file, {**record(first, lambda _: 1.0), "error": "noisy"})
    points.append(file, record(second, lambda _: 2.0))
    points.append(file, record(first, lambda _: 3.0))
    found = points.read(file)
    assert [(points.spec_of(r), r["step_ms"]) for r in found] == [(first, 3.0), (second, 2.0)]
    assert "error" not in found[0]


def test_a_last_line_that_was_cut_off_is_passed_over_and_the_next_one_begins_anew(tmp_path):
    file = tmp_path / "results.jsonl"
    first, second, *_ = specs()
    points.append(file, record(first, lambda _: 1.0))
    whole = file.read_text()
    file.write_text(whole + whole[:50])
    assert [points.spec_of(r) for r in points.read(file)] == [first]
    points.append(file, record(second, lambda _: 2.0))
    assert file.read_text().splitlines()[2] == json.dumps(record(second, lambda _: 2.0))


def test_a_file_of_something_else_is_refused_with_its_line(tmp_path):
    file = tmp_path / "other.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"other.jsonl, line 1, is no point of a curve"):
        points.read(file)


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
    points.check_alike([*same, {**vars(third), "error": "of no device"}])
    with pytest.raises(ValueError, match=r"do not belong together: 2 points of A device.*; 1 poi"):
        points.check_alike([*same, record(third, lambda _: 1.0, **changes)])
