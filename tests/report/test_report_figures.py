"""Figures: their points against the counter, the paper and what was measured; their drawings."""

import csv
import xml.etree.ElementTree
from dataclasses import replace

import numpy as np
import pytest

from fastscale_jax.arch import count, growth, model_config, scale
from fastscale_jax.display import draw
from fastscale_jax.display.figure import Axis, Curve, Figure, Panel, Point
from fastscale_jax.display.origins import Origin
from fastscale_jax.report import model_figures, scaling_figures, series
from fastscale_jax.report.inputs import Inputs, read
from fastscale_jax.report.networks import FACTORS
from tests.golden_files import golden
from tests.measure.curve_points import specs
from tests.report.made_up import row_specs, time, write_results, write_workdir

GOLDEN = {row["name"]: row for row in golden("paper")}
NUMBERS = ("01", "02", "04", "05", "06", "07", "08", "09", "10", "11", "12")


def all_figures(inputs):
    found = [*scaling_figures.figures(inputs), *model_figures.figures(inputs)]
    return {figure.name: figure for figure in found}


@pytest.fixture(scope="module")
def plain():
    """Figures of a report that was given nothing."""
    return all_figures(Inputs())


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Figures of a report that was given measurements and a run."""
    folder = tmp_path_factory.mktemp("given")
    results = write_results(folder / "results.jsonl", {*row_specs(), *specs(["jax"])})
    runs = [write_workdir(folder / "run"), write_workdir(folder / "small", source="digits")]
    return all_figures(read([results], workdirs=runs))


def curves(figure, origin):
    return [c for panel in figure.panels for c in panel.drawn() if c.origin == origin]


def test_all_figures_with_data_are_there(plain):
    assert sorted(plain) == [f"figure-{number}" for number in NUMBERS]
    for figure in plain.values():
        assert all(panel.drawn() for panel in figure.panels), figure.name
        labels = [[c[:2] for c in panel.drawn()] for panel in figure.panels]
        assert all(len(set(names)) == len(names) for names in labels)


@pytest.mark.parametrize(
    ("number", "base", "strategies"),
    [
        ("04", "efficientnet:b0", ("d", "w", "r", "dwr")),
        ("06", "efficientnet:b0", ("dwr", "a0.4", "a0.6", "dWr", "w")),
        ("11", "regnety:500mf", ("d", "w", "r", "dwr")),
        ("12", "regnetz:500mf", ("dwr", "a0.4", "a0.6", "dWr", "w")),
    ],
)
def test_counted_curves_have_the_counter_s_activations(plain, number, base, strategies):
    """The panel whose title names the base, or the only one that is counted."""
    config = model_config(*base.split(":"))
    panels = [p for p in plain[f"figure-{number}"].panels if p.y == series.ACTS]
    panel = panels[-1] if base.startswith("regnetz") else panels[0]
    found = {curve.style: curve for curve in panel.curves if curve.style != "orig"}
    assert tuple(found) == strategies
    for strategy, curve in found.items():
        costs = [count(scale(config, strategy, factor=factor)) for factor in FACTORS]
        wanted = [(c.flops / 1e9, c.acts / 1e6) for c in costs][: len(curve.points)]
        assert [point[:2] for point in curve.points] == wanted
        assert curve.points[-1].x > 3.4


def test_figure_1_s_growth_stands_beside_the_closed_forms(plain):
    panel = plain["figure-01"].panels[2]
    closed = [curve for curve in panel.curves if curve.origin == Origin.FORMULA]
    assert len(closed) == len(panel.curves) / 2
    for curve in closed:
        assert curve.points[-1] == (100, growth(curve.style, 100).acts, 0)
    real = next(c for c in panel.curves if (c.style, c.origin) == ("w", Origin.COUNTED))
    assert real.points[0][:2] == (1, 1)


def test_printed_errors_are_the_paper_s_2x(plain):
    for figure in plain.values():
        for panel in figure.panels:
            if panel.y != series.ERROR:
                continue
            printed = [p for c in panel.curves if c.origin == Origin.PAPER for p in c.points]
            known = {row["top1_error"]["2x"] for row in GOLDEN.values() if "exact" in row}
            assert {point.y for point in printed} <= known
            assert all(point.spread > 0 for point in printed)
    assert len(curves(plain["figure-08"], Origin.PAPER)) == 12
    of_8 = [p for c in plain["figure-08"].panels[0].curves for p in c.points]
    assert len(of_8) == 3 * 3 + 2 * 2 + 6


def test_what_is_missing_is_said_with_the_command_that_measures_it(plain, given):
    for number in ("01", "04", "06"):
        panel = plain[f"figure-{number}"].panels[-1]
        assert (panel.note, panel.y) == (series.NO_RUNTIME, series.ACTS)
    for number in ("01", "02", "04", "06", "11", "12"):
        command = plain[f"figure-{number}"].command
        assert command.startswith("fastscale curves --results=")
        assert not plain[f"figure-{number}"].source
    assert not given["figure-01"].command
    assert not given["figure-01"].panels[-1].note


def test_measured_points_join_with_their_device(given):
    for number in ("01", "02", "04", "06", "08", "09", "11", "12"):
        figure = given[f"figure-{number}"]
        assert curves(figure, Origin.MEASURED), number
        assert figure.source.startswith("JAX on A device, float32, 2026-11-21")
    (fast,) = [c for c in curves(given["figure-01"], Origin.MEASURED) if c.style == "dWr"]
    config = model_config("efficientnet", "b0")
    factors = (1, 2, 4, 11, 48)
    costs = [count(scale(config, "dWr", factor=factor)) for factor in factors]
    wanted = [(c.flops / 1e9, time(c) / 8 * 1281167 / 60000) for c in costs]
    assert [point[:2] for point in fast.points] == [pytest.approx(point) for point in wanted]


def test_the_paper_s_minutes_and_measured_ones_share_no_axes(given):
    for figure in given.values():
        for panel in figure.panels:
            if panel.y == series.MINUTES:
                assert len({curve.origin for curve in panel.drawn()}) == 1, panel.title


def test_a_panel_of_bases_of_another_resolution_says_so(tmp_path):
    path = tmp_path / "results.jsonl"
    write_results(path, [replace(spec, resolution=96) for spec in specs(["jax"])])
    titles = [panel.title for panel in all_figures(read([path]))["figure-01"].panels]
    assert titles[-2:] == [
        "Runtime of EfficientNet-B0, printed: eight V100s",
        "Runtime of EfficientNet-B0, measured, bases at 96 px",
    ]


def test_pearson_s_r_is_numpy_s(plain):
    for panel, field in zip(plain["figure-02"].panels, ("flops", "params", "acts"), strict=True):
        rows = [row for row in GOLDEN.values() if "exact" in row]
        counts = [row["exact"][field] for row in rows]
        minutes = [row["printed"]["epoch_minutes"] for row in rows]
        r = np.corrcoef(counts, minutes)[0, 1]
        assert panel.note.startswith(f"r = {r:.3f} of these rows; the paper's own r, of B0: 0.")


def test_three_points_have_no_r():
    points = tuple(Point(x, x) for x in range(1, 5))
    curves = [Curve("a line", Origin.MEASURED, points, "w")]
    assert model_figures._pearson(curves) == "too few points for r"
    more = [Curve("one more", Origin.MEASURED, (Point(5, 5),), "d")]
    assert model_figures._pearson([*curves, *more]) == "r = 1.000"


def test_a_run_on_imagenet_joins_the_paper_s_errors_and_one_on_digits_does_not(given):
    for number in ("01", "04", "06", "08", "10"):
        (run,) = curves(given[f"figure-{number}"], Origin.TRAINED)
        assert run.label.endswith("on folder, trained here for 2 epochs")
        assert run.points == ((pytest.approx(4.142811522), 18.5, 0.0),)
    assert not curves(given["figure-05"], Origin.TRAINED)


def test_figure_10_has_the_scaler_s_depthwise_networks(plain):
    curve = next(c for c in plain["figure-10"].panels[1].curves if "G1" in c.label)
    base = model_config("regnetz", "500mf-g1")
    costs = [count(scale(base, "dWr", factor=factor)) for factor in FACTORS]
    assert [point[:2] for point in curve.points] == [(c.flops / 1e9, c.acts / 1e6) for c in costs]


def test_a_drawing_and_its_csv_file_have_every_point(tmp_path):
    panel = Panel(
        "Title",
        Axis("x"),
        Axis("y", is_log=False),
        tuple(
            Curve(origin.key, origin, (Point(1, 2), Point(3, 4.5, 0.5)), "dWr")
            for origin in Origin
            if origin.form
        ),
        note="a note",
    )
    figure = Figure("name", "Title", "Caption", (panel, panel, panel), source="a source")
    draw.write(figure, tmp_path)
    assert (tmp_path / "name.png").read_bytes().startswith(b"\x89PNG")
    drawn = xml.etree.ElementTree.parse(tmp_path / "name.svg").getroot()
    assert drawn.tag.endswith("svg")
    with (tmp_path / "name.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 6 * 2
    assert {(row["x"], row["y"], row["spread"]) for row in rows} == {
        ("1", "2", "0.0"),
        ("3", "4.5", "0.5"),
    }
    axes = draw._drawn(figure).axes[0]
    lines = [line.get_xydata() for line in axes.lines if line.get_label()]
    assert sum(np.array_equal(line, [(1, 2), (3, 4.5)]) for line in lines) == 6
    assert draw.as_data_uri(tmp_path / "name.svg").startswith("data:image/svg+xml;base64,")
    before = (tmp_path / "name.svg").read_bytes()
    draw.write(figure, tmp_path)
    assert (tmp_path / "name.svg").read_bytes() == before


def test_styles_differ_in_more_than_colour(plain, given):
    for figure in (*plain.values(), *given.values()):
        for panel in figure.panels:
            for origin in Origin:
                styles = [c.style for c in panel.drawn() if c.origin == origin]
                forms = {_form(style, origin) for style in styles}
                assert len(forms) == len(set(styles)), (figure.name, panel.title)


def _form(style, origin):
    """What tells a curve from others, colours aside; closed forms lie beside what they are of."""
    found = draw.STYLES[style]
    if origin == Origin.FORMULA:
        return style
    return str(found.dashes) if origin == Origin.COUNTED else found.marker
