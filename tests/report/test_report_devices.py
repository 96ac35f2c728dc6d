"""The report's section on devices: made of results where there are any."""

import dataclasses

import pytest

from fastscale_jax.display.origins import Origin
from fastscale_jax.report.contents import sections, sources
from fastscale_jax.report.inputs import Inputs, read
from fastscale_jax.search.device_results import best, within
from tests.commands import REPOSITORY
from tests.search.device_points import write_points


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Results of two bases for one target."""
    folder = tmp_path_factory.mktemp("devices")
    path = write_points(folder / "h100.jsonl")
    return read(device_files=[write_points(path, "regnety:500mf")], device="")


def devices(inputs):
    return [section for section in sections(inputs) if section.key == "devices"]


def test_there_is_no_section_without_results():
    assert devices(Inputs()) == []
    assert "`--device_results` those of" in dict(sources(Inputs()))[Origin.COMPILED]


def test_each_base_has_a_figure_a_table_for_each_budget_and_its_front(given):
    (section,) = devices(given)
    names = [f"device-gpu-h100-{base}-500mf" for base in ("regnety", "regnetz")]
    parts = ("", "-floor-ms-9", "-memory-gb-15", "-front")
    assert [item.name for item in section.items] == [n + part for n in names for part in parts]
    said = dict(sources(given))[Origin.COMPILED]
    assert "7 networks of regnety:500mf: gpu:h100, bfloat16, jax 1, 2026-11-21." in said


def test_the_table_marks_the_share_of_most_flops_a_millisecond(given):
    table = devices(given)[0].items[5]
    found = given.findings[1]
    chosen = within(found, found.strategies, found.budgets[0])
    rows = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert list(rows) == ["a0", "a0.5", "a1"]
    assert [name for name, row in rows.items() if row[-2] == "100"] == [best(chosen)]
    rate = "flops per image per millisecond of the step"
    assert f"Most {rate}: {best(chosen)}" in table.caption
    assert rate in " ".join(devices(given)[0].paragraphs)
    assert "Nothing was run" in table.caption


def test_the_figure_has_all_networks_and_flops_a_millisecond_by_alpha(given):
    figure = devices(given)[0].items[4]
    by_flops, by_params, by_alpha = figure.panels
    for panel in (by_flops, by_params):
        points = {point[:2] for curve in panel.curves for point in curve.points}
        assert len(points) == 7
    assert [point.x for point in by_alpha.curves[0].points] == [0.0, 0.5, 1.0]
    assert figure.origins() == [Origin.COMPILED]


def test_measured_networks_are_told_from_compiled_ones(given):
    found = dataclasses.replace(given.findings[0], is_compiled=False, device="A GPU")
    (section,) = devices(Inputs(findings=(found,)))
    assert section.items[0].origins() == [Origin.MEASURED]
    assert "nothing was run" not in section.items[1].caption
    said = dict(sources(Inputs(findings=(found,))))
    assert "7 networks of regnety:500mf" in said[Origin.MEASURED]


def test_points_of_curves_have_a_figure_and_a_front():
    curves = REPOSITORY / "benchmarks/results/program_alphas_v5e.jsonl"
    (section,) = devices(read(device_files=[curves], device=""))
    name = "device-tpu-v5e-regnetz-500mf"
    assert [item.name for item in section.items] == [name, f"{name}-front"]
    assert len(section.items[0].panels) == 2
    assert "works too, without the tables of budgets" in (REPOSITORY / "docs/report.md").read_text(
        "utf-8"
    )


def test_results_of_one_base_in_two_files_are_refused(tmp_path):
    paths = [write_points(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(ValueError, match="regnetz:500mf on gpu:h100 are in several files"):
        read(device_files=paths, device="")
