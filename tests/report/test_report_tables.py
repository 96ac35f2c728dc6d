"""Tables 1 to 8: copied figures, closed forms, counts, and what is said of them."""

import dataclasses
import math

import pytest

from fastscale_jax.arch import PAPER_ROWS, count, model_config, scale
from fastscale_jax.display.origins import Origin
from fastscale_jax.display.table import DASH, Cell, Column, Table
from fastscale_jax.measure import points
from fastscale_jax.report import closed_forms, paper_tables
from fastscale_jax.report.closed_forms import ALPHA
from fastscale_jax.report.inputs import Inputs, read
from fastscale_jax.report.networks import NAMES, SMALL
from fastscale_jax.report.page import powers
from fastscale_jax.report.paper import COUNTS, as_printed, paper
from tests.golden_files import golden
from tests.report.made_up import row_specs, write_results, write_workdir

GOLDEN = {row["name"]: row for row in golden("paper")}
GOLDEN_NAMES = {"flops": "flops_b", "params": "params_m", "acts": "acts_m"}


def cells(table, group, header):
    """A column of a table."""
    places = [(column.group, column.header) for column in table.columns]
    return [row[places.index((group, header))] for row in table.rows]


def test_the_printed_figures_are_those_of_the_golden_file():
    assert paper().rows.keys() == GOLDEN.keys()
    for name, printed in paper().rows.items():
        row = GOLDEN[name]
        for of, golden_name in GOLDEN_NAMES.items():
            assert getattr(printed, of) == row["printed"][golden_name]
        assert printed.minutes == row["printed"]["epoch_minutes"]
        errors = {schedule: error for schedule, error in row["top1_error"].items() if error}
        assert {schedule: error.percent for schedule, error in printed.errors.items()} == errors
        assert all(0 < error.spread < 0.2 for error in printed.errors.values())
        assert [n for n, names in paper().tables.items() if name in names] == row["tables"]


def test_the_authors_own_errors_stand_in_table_5_alone():
    with_them = {name for name, row in paper().rows.items() if row.published}
    assert with_them == set(paper().tables[5])
    table = paper_tables.tables(paper_tables.compare(Inputs()))[0]
    assert [c.text for c in cells(table, "published error", "ICML")] == [
        *("23.7", "21.2", "20.2", "18.9", "17.4", "16.7")
    ]


def test_all_rows_but_one_agree_in_every_printed_digit():
    rows = paper_tables.compare(Inputs())
    for name, row in rows.items():
        wanted = GOLDEN[name].get("exact")
        assert row.agrees == (wanted is not None)
        assert row.cost is None if wanted is None else row.cost._asdict() == wanted
    said = paper_tables.agreement(rows)
    assert said.startswith("21 of 22 rows of Tables 5 to 8 agree with the paper in every printed")
    assert "RegNetZ-4GF-224: cannot be computed: its base was never published" in said


def test_agreement_is_computed():
    rows = paper_tables.compare(Inputs())
    row = rows["RegNetY-4GF"]
    printed = row.printed._replace(acts=14.6, params=22.3)
    wrong = dataclasses.replace(row, printed=printed)
    assert wrong.differences() == {"flops": 0.0, "params": 0.1, "acts": -0.1}
    said = paper_tables.agreement({**rows, "RegNetY-4GF": wrong})
    assert said.startswith("20 of 22 rows")
    assert "RegNetY-4GF: differs in params by +0.1 and acts by -0.1." in said


@pytest.mark.parametrize("number", [5, 6, 7, 8])
def test_every_row_has_printed_and_counted_figures(number):
    table = paper_tables.tables(paper_tables.compare(Inputs()))[number - 5]
    names = [name for name, row in GOLDEN.items() if number in row["tables"]]
    shown = [row[0].text.replace("→", "->") for row in table.rows]
    assert sorted(shown) == sorted(names)
    for of, group in paper_tables._COUNT_GROUPS.items():
        printed, counted, apart = (
            cells(table, group, header) for header in ("printed", "counted", "diff.")
        )
        for name, *figures in zip(shown, printed, counted, apart, strict=True):
            row = GOLDEN[name]
            assert float(figures[0].text) == row["printed"][GOLDEN_NAMES[of]]
            if "exact" in row:
                assert figures[1].exact == row["exact"][of]
                assert figures[2].text == "0"
            else:
                assert [figure.text for figure in figures[1:]] == [DASH, DASH]
    headers = {(column.header, column.origin) for column in table.columns}
    assert {("printed", Origin.PAPER), ("counted", Origin.COUNTED)} <= headers


def test_a_count_is_printed_as_the_paper_prints_it():
    assert [as_printed(4142811522, "flops"), as_printed(36092850, "params")] == ["4.1", "36.1"]


def test_a_row_that_was_measured_says_on_what(tmp_path):
    chosen = [spec for spec in row_specs() if spec.factor in (1.0, 11.0)]
    given = read([write_results(tmp_path / "results.jsonl", chosen)])
    *_, large = paper_tables.tables(paper_tables.compare(given))
    shown = {row[0].text: row for row in large.rows}
    places = [c.header for c in large.columns if c.group == "training step"]
    at = next(i for i, c in enumerate(large.columns) if c.group == "training step")
    row = shown["EfficientNet-B0→4GF"]
    figures = dict(zip(places, row[at : at + len(places)], strict=True))
    cost = GOLDEN["EfficientNet-B0->4GF"]["exact"]
    step_ms = 3 + 1e-6 * cost["acts"] + 2e-9 * cost["flops"]
    minutes = step_ms / 8 * 1281167 / 60000
    wanted = [step_ms, 8, 252, minutes, minutes / 11.1]
    texts = [figures[place].text for place in places]
    assert [float(text.replace(",", "")) for text in texts[:5]] == pytest.approx(wanted, abs=0.051)
    assert texts[5:] == ["A device", "2026-11-21"]
    assert "JAX on A device, float32, 2026-11-21; jax 1" in figures["ms a step"].note
    unmeasured = shown["EfficientNet-B0→16GF"]
    assert {cell.text for cell in unmeasured[at : at + len(places)]} == {DASH}


def test_a_row_that_could_not_be_measured_says_why(tmp_path):
    specs = dict(zip((row.name for row in PAPER_ROWS), row_specs(), strict=True))
    failed = specs.pop("EfficientNet-B0->16GF")
    path = write_results(tmp_path / "results.jsonl", specs.values())
    points.append(path, {**dataclasses.asdict(failed), "error": "out of memory"})
    *_, table = paper_tables.tables(paper_tables.compare(read([path])))
    (row,) = (row for row in table.rows if row[0].text == "EfficientNet-B0→16GF")
    assert Cell(DASH, note="out of memory") in row
    assert "EfficientNet-B0→16GF: could not be measured; out of memory." in table.notes


def test_a_measurement_at_another_resolution_is_set_beside_nothing(tmp_path):
    path = tmp_path / "results.jsonl"
    write_results(path, row_specs()[:1])
    path.write_text(path.read_text().replace('"side": 224', '"side": 96'))
    table = paper_tables.tables(paper_tables.compare(read([path])))[0]
    assert cells(table, "training step", "px")[0].text == "96 (row: 224)"
    assert cells(table, "training step", "÷ printed")[0].text == DASH


def test_a_run_of_a_row_s_network_on_imagenet_stands_beside_the_row(tmp_path):
    runs = [write_workdir(tmp_path / "run"), write_workdir(tmp_path / "other", source="digits")]
    rows = paper_tables.compare(read(workdirs=runs))
    trained = {name for name, row in rows.items() if row.trained}
    assert trained == {"EfficientNet-B0->4GF"}
    *_, large = paper_tables.tables(rows)
    shown = cells(large, "own runs", "error")
    assert sorted(cell.text for cell in shown) == ["18.5 (2 ep.)", *[DASH] * 12]


def test_runs_of_one_row_are_averaged_apart_for_each_number_of_epochs(tmp_path):
    errors = {"a": 18.0, "b": 19.0, "c": 17.0}
    runs = [write_workdir(tmp_path / name, error=error) for name, error in errors.items()]
    runs.append(write_workdir(tmp_path / "long", error=16.0, epochs=4.0))
    *_, large = paper_tables.tables(paper_tables.compare(read(workdirs=runs)))
    (cell,) = (c for c in cells(large, "own runs", "error") if c.text != DASH)
    assert cell.text == "18.0 ± 1.00 (2 ep.); 16.0 (4 ep.)"
    assert cell.note == "a, b, c, long"


@pytest.mark.parametrize(
    ("number", "strategy", "powers", "symbols"),
    [
        (1, "d", (1, 1, 1), ("s", "s", "s")),
        (1, "w", (1, 1, 1 / 2), ("s", "s", "√s")),
        (1, "r", (1, 0, 1), ("s", "1", "s")),
        (2, "dw", (1, 1, 3 / 4), ("s", "s", "s^3/4")),
        (2, "wr", (1, 1 / 2, 3 / 4), ("s", "√s", "s^3/4")),
        (2, "dr", (1, 1 / 2, 1), ("s", "√s", "s")),
        (2, "dwr", (1, 2 / 3, 5 / 6), ("s", "s^2/3", "s^5/6")),
        (4, f"dr ({ALPHA} = 0)", (1, 0.5, 1), ("s^1.00", "s^0.50", "s^1.00")),
        (4, f"dwr ({ALPHA} = 1/3)", (1, 2 / 3, 5 / 6), ("s^1.00", "s^0.67", "s^0.83")),
        (4, f"dWr ({ALPHA} = 0.8)", (1, 0.9, 0.6), ("s^1.00", "s^0.90", "s^0.60")),
        (4, f"w ({ALPHA} = 1)", (1, 1, 0.5), ("s^1.00", "s^1.00", "s^0.50")),
    ],
)
def test_tables_1_2_and_4_have_the_paper_s_powers_and_what_networks_make_of_them(
    number, strategy, powers, symbols
):
    table = closed_forms.tables()[number - 1]
    rows = [i for i, row in enumerate(table.rows) if row[0].text == strategy]
    assert len(rows) == len(closed_forms.FACTORS_SHOWN)
    for i, factor in zip(rows, closed_forms.FACTORS_SHOWN, strict=True):
        growth = [cells(table, "closed form", of)[i].text for of in COUNTS]
        assert growth == [f"{factor**power:.2f}" for power in powers]
        assert tuple(cells(table, "growth", of)[i].text for of in COUNTS) == symbols
        for key in SMALL:
            config = model_config(*key.split(":"))
            grown = count(scale(config, strategy.split()[0], factor=factor))
            wanted = [f"{b / a:.2f}" for a, b in zip(count(config), grown, strict=True)]
            assert [cells(table, NAMES[key], of)[i].text for of in COUNTS] == wanted


def test_tables_begin_with_the_paper_s_first_rows():
    simple, _, groups, fast = closed_forms.tables()
    for table in (simple, groups):
        assert table.rows[0][0].text == "none"
        assert [cells(table, "growth", of)[0].text for of in COUNTS] == ["1", "1", "1"]
    assert cells(simple, NAMES["regnetz:500mf"], "flops")[0].note == "506,892,070"
    first = [cell.text for cell in fast.rows[0]]
    assert first[:4] == [ALPHA, f"(1-{ALPHA})/2", ALPHA, f"(1-{ALPHA})/2"]
    assert first[4:7] == ["s", f"s^(1+{ALPHA})/2", f"s^(2-{ALPHA})/2"]
    assert {len(row) for table in (simple, groups, fast) for row in table.rows[:2]} == {
        len(simple.columns),
        len(groups.columns),
        len(fast.columns),
    }
    assert powers(first[5]) == f"s<sup>(1+{ALPHA})/2</sup>"


def test_table_3_scales_a_real_group_conv():
    table = closed_forms.tables()[2]
    for dims, width_power, group_power in (("w", 1, 0), ("g", 0, 1), ("wg", 0.5, 0.5)):
        for row in (row for row in table.rows if row[0].text == dims):
            factor, width, group = (int(row[i].text.replace(",", "")) for i in (4, 8, 9))
            closed = [float(cell.text) for cell in row[5:8]]
            flops = factor ** (width_power + group_power)
            assert closed == pytest.approx([flops, flops, factor**width_power], abs=0.005)
            assert width % group == 0
            assert abs(width / (416 * factor**width_power) - 1) <= 1 / 3
            # 3×3 at 14×14, with BatchNorm's two parameters a channel
            before, after = (
                (9 * w * g * 196, 9 * w * g + 2 * w, w * 196) for w, g in ((416, 4), (width, group))
            )
            wanted = [b / a for a, b in zip(before, after, strict=True)]
            assert [float(c.text) for c in row[10:]] == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize(
    ("power", "text"), [(0, "1"), (1, "s"), (0.5, "√s"), (5 / 6, "s^5/6"), (0.9, "s^9/10")]
)
def test_a_power_is_written_as_the_paper_does(power, text):
    assert closed_forms.symbol(power) == text
    if math.isclose(power, 0.9):
        assert closed_forms.symbol(power, is_decimal=True) == "s^0.90"


def test_a_csv_file_has_exact_numbers_and_mixed_origins_in_columns_of_their_own():
    table = Table(
        "name",
        "title",
        "caption",
        (Column("a", "group", Origin.COUNTED), Column("b")),
        ((Cell("1.2 M", 1_234_567), Cell("3", origin=Origin.PAPER)), (Cell(DASH), Cell("4"))),
    )
    assert table.csv_rows() == [
        ["group a [counted]", "group a [counted] exact", "b", "b origin"],
        ["1.2 M", "1234567", "3", "paper"],
        [DASH, "", "4", ""],
    ]
    assert table.groups() == [("group", 1, Origin.COUNTED), ("", 1, None)]
    assert table.column_origins() == [None, None]


def test_every_row_of_the_zoo_has_printed_figures():
    assert {row.name for row in PAPER_ROWS} == paper().rows.keys() - paper().unrecoverable.keys()


def test_bases_that_the_paper_does_not_describe_say_where_they_come_from():
    tables = paper_tables.tables(paper_tables.compare(Inputs()))
    notes = " ".join(tables[1].notes)
    assert "RegNetY-500MF: recovered; the paper does not print" in notes
    assert "RegNetZ-500MF: the paper does not print this base's parameters; they come" in notes
    assert not any("recovered" in note for note in tables[0].notes)
