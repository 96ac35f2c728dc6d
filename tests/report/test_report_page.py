"""The page and the files beside it, written once with everything given."""

import csv
import json
import re

import pytest

from fastscale_jax.arch import count, model_config, scale
from fastscale_jax.measure.fitted import load
from fastscale_jax.report import explorer, inputs
from fastscale_jax.report.networks import FACTORS, NAMES
from fastscale_jax.report.page import powers, prose
from fastscale_jax.report.written import write
from tests.golden_files import golden
from tests.measure.curve_points import specs
from tests.report.made_up import (
    Page,
    row_specs,
    write_device,
    write_results,
    write_study,
    write_workdir,
)
from tests.search.device_points import write_points


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a report that was given everything."""
    folder = tmp_path_factory.mktemp("report")
    given = inputs.read(
        [write_results(folder / "results.jsonl", {*row_specs(), *specs(["jax"])})],
        write_study(folder / "study.jsonl"),
        str(write_device(folder / "device.json")),
        [write_workdir(folder / "imagenet"), write_workdir(folder / "digits", source="digits")],
        [write_points(folder / "devices.jsonl")],
    )
    write(given, folder / "out")
    return folder


@pytest.fixture(scope="module")
def text(written):
    return (written / "out" / "index.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(text):
    # Plotly's own code is no part of the page's words
    return Page(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))


@pytest.fixture(scope="module")
def grid(text):
    """What the explorer reads."""
    match = re.search(r'id="explorer-data">(.*?)</script>', text, re.DOTALL)
    assert match
    return json.loads(match[1])


def test_every_table_is_on_the_page_and_in_a_csv_file_with_the_same_figures(written, page):
    files = {path.stem: path for path in (written / "out" / "tables").glob("*.csv")}
    assert files.keys() - {"explorer"} == page.tables.keys()
    assert {f"table-{number}" for number in range(1, 9)} < page.tables.keys()
    for name, rows in page.tables.items():
        with files[name].open(newline="") as file:
            header, *lines = csv.reader(file)
        shown = [i for i, title in enumerate(header) if not title.endswith(" exact")]
        assert [[cell[0] for cell in row] for row in rows] == [[x[i] for i in shown] for x in lines]
        exact = [i for i, title in enumerate(header) if title.endswith(" exact")]
        assert [[cell[1] for cell in row if cell[1]] for row in rows] == [
            [line[i] for i in exact if line[i]] for line in lines
        ]


def test_every_figure_is_on_the_page_and_in_three_files(written, page):
    folder = written / "out" / "figures"
    names = {path.stem for path in folder.iterdir()}
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{ending}" for name in names for ending in ("svg", "png", "csv")
    }
    assert len([address for address in page.loaded if address.startswith("data:image/svg")]) == 13
    assert names < set(page.ids)


def test_nothing_is_loaded_from_elsewhere(text, page):
    assert {address.partition(":")[0] for address in page.loaded} == {"data"}
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert "url(" not in own
    assert "@import" not in own
    assert "default-src 'none'" in own
    external = {link for link in page.links if link.startswith("http")}
    assert external == {"https://arxiv.org/abs/2103.06877"}


def test_links_lead_somewhere(written, page):
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif not link.startswith("http"):
            assert (written / "out" / link).is_file(), link


def test_the_page_says_how_many_rows_agree_and_which_does_not(text):
    words = re.sub(r"\s+", " ", text[: text.index("<nav")])
    assert "21 of 22 rows of Tables 5 to 8 agree with the paper in every printed digit" in words
    assert "RegNetZ-4GF-224: cannot be computed" in words


def test_measured_cells_have_their_device_and_date(page):
    rows = {row[0][0]: row for row in page.tables["table-8"]}
    row = rows["RegNetZ-500MF→16GF"]
    assert {"A device", "2026-11-21"} <= {cell[0] for cell in row}
    assert any("JAX on A device, float32, 2026-11-21; jax 1" in cell[2] for cell in row)


def test_the_exact_count_is_where_the_pointer_rests(page):
    exact = {row["name"]: row["exact"] for row in golden("paper") if "exact" in row}
    for row in page.tables["table-8"]:
        found = exact[row[0][0].replace("→", "->")]
        cells = [cell for cell in row if cell[1]]
        assert [int(cell[1]) for cell in cells] == list(found.values())
        assert [cell[2] for cell in cells] == [f"{amount:,}" for amount in found.values()]


def test_origins_are_told_by_letters_and_words(text):
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    for letter, words in (("P", "printed in the paper"), ("M", "measured here")):
        assert re.search(rf'<abbr class="mark \w+" title="{words}">{letter}</abbr>', own)
    assert "A device, jax, float32, batches of 8" in own
    assert "Study: 6 runs on digits, 40 epochs; A device; 2026-11-21." in own


@pytest.mark.parametrize("key", NAMES)
def test_the_explorer_s_grid_is_the_counter_s(grid, key):
    config = model_config(*key.split(":", 1))
    assert tuple(grid["factors"]) == FACTORS
    for strategy in ("dWr", "orig", "d", "a0", "a0.3", "a1"):
        for index in (0, 1, 13, 20, 32):
            network = scale(config, strategy, factor=FACTORS[index])
            found = dict(zip(grid["fields"], grid["networks"][key][strategy][index], strict=True))
            for field in ("depths", "widths", "group_widths"):
                assert tuple(found[field]) == network[field]
            for field in ("resolution", "stem_width", "head_width"):
                assert found[field] == network[field]
            assert count(network)._asdict() == {of: found[of] for of in ("flops", "params", "acts")}


def test_an_alpha_that_has_a_name_is_that_strategy(grid):
    for networks in grid["networks"].values():
        for alpha, name in (("a0", "dr"), ("a0.8", "dWr"), ("a1", "w")):
            assert networks[alpha] == networks[name]


def test_predicted_times_are_the_device_model_s_and_marked_beyond_its_range(written, grid):
    device = load(written / "device.json")
    at = {name: i for i, name in enumerate(grid["fields"])}
    marks = set()
    for index, factor in enumerate(FACTORS):
        found = grid["networks"]["regnetz:500mf"]["dWr"][index]
        cost = count(scale(model_config("regnetz"), "dWr", factor=factor))
        wanted = device.predict("step_ms", "regnetz-500mf", cost)
        assert found[at["step_ms"]] == pytest.approx(wanted, rel=1e-3)
        assert found[at["is_covered"]] == device.covers(cost)
        marks.add(found[at["is_covered"]])
    assert marks == {True, False}


def test_the_grid_is_in_a_csv_file(written, grid):
    with (written / "out" / "tables" / "explorer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(NAMES) * 22 * len(FACTORS)
    found = grid["networks"]["regnetz:4gf"]["a0.6"][7]
    (row,) = (
        row
        for row in rows
        if (row["base"], row["strategy"], row["factor"]) == ("regnetz:4gf", "a0.6", str(FACTORS[7]))
    )
    assert row["widths"] == " ".join(map(str, found[1]))
    assert int(row["acts"]) == found[grid["fields"].index("acts")]


def test_without_a_device_there_are_no_times():
    found = explorer.grid(None)
    assert found["device"] is None
    assert found["networks"]["regnety:4gf"]["w"][3][-2:] == [None, None]


def test_words_are_escaped_and_code_and_powers_are_set():
    assert prose("a < b: `x & y`") == "a &lt; b: <code>x &amp; y</code>"
    assert powers("s^3/4") == "s<sup>3/4</sup>"
    assert powers("s^0.67, s^3/5.") == "s<sup>0.67</sup>, s<sup>3/5</sup>."
    assert powers("<s>") == "&lt;s&gt;"
