"""The page and the files beside it, written once with everything given."""

import csv
import dataclasses
import json
import re

import pytest

from docs import accelerator_records
from fastscale_jax.arch import STRATEGIES, count, model_config, resolve, scale
from fastscale_jax.measure.fitted import load
from fastscale_jax.report import explorer, inputs
from fastscale_jax.report.networks import FACTORS, NAMES, grown
from fastscale_jax.report.page import powers, prose, size
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

pytestmark = pytest.mark.slow  # writing the page takes some 15 seconds


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a report that was given everything."""
    folder = tmp_path_factory.mktemp("report")
    given = inputs.read(
        [write_results(folder / "results.jsonl", {*row_specs(), *specs(["jax"])})],
        write_study(folder / "study.jsonl"),
        str(write_device(folder / "device.json")),
        [write_workdir(folder / "imagenet"), write_workdir(folder / "digits", source="digits")],
        device_files=[write_points(folder / "devices.jsonl")],
    )
    write(given, folder / "out")
    return folder


@pytest.fixture(scope="module")
def text(written):
    return (written / "out" / "index.html").read_text("utf-8")


@pytest.fixture(scope="module")
def page(text):
    # code is no part of the page's words
    return Page(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))


@pytest.fixture(scope="module")
def grid(text):
    """What the explorer reads."""
    match = re.search(r'id="explorer-data">(.*?)</script>', text, re.DOTALL)
    assert match
    return json.loads(match[1])


def test_every_table_is_on_the_page_and_in_a_csv_file_with_the_same_figures(written, page):
    files = {path.stem: path for path in (written / "out" / "tables").glob("*.csv")}
    assert files.keys() - {"explorer", "explorer-targets"} == page.tables.keys()
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


@pytest.mark.parametrize("key", explorer.BASES)
def test_the_explorer_s_grid_is_the_counter_s(grid, key):
    config = model_config(*key.split(":", 1))
    (found,) = (base for base in grid["bases"] if base["key"] == key)
    factors = found["factors"]
    assert {*FACTORS} <= {*factors} if key in NAMES else factors == [1]
    strategies = grid["networks"][key].keys()
    assert {*STRATEGIES, *(f"a{i / 10:g}" for i in range(11))} == {*strategies}
    for strategy in strategies:
        for index in {0, 1, 13, 20, len(factors) - 1} & {*range(len(factors))}:
            network = scale(config, strategy, factor=factors[index])
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
    for index, factor in enumerate(explorer.factors("regnetz:500mf")):
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
    assert len(rows) == 22 * sum(len(explorer.factors(key)) for key in explorer.BASES)
    index = explorer.factors("regnetz:4gf").index(8)
    found = grid["networks"]["regnetz:4gf"]["a0.6"][index]
    (row,) = (
        row
        for row in rows
        if (row["base"], row["strategy"], row["factor"]) == ("regnetz:4gf", "a0.6", "8.0")
    )
    assert row["variant"] == "regnetz:4gf_a0.6_x8"
    assert row["widths"] == " ".join(map(str, found[1]))
    assert int(row["acts"]) == found[grid["fields"].index("acts")]


@pytest.mark.parametrize("key", explorer.BASES)
def test_every_variant_of_the_grid_is_one_that_commands_take(key):
    family, _, _ = key.partition(":")
    for strategy in explorer.STRATEGY_NAMES:
        for factor in explorer.factors(key)[:: 1 if strategy == "dWr" else 7]:
            variant = explorer.variant(key, strategy, factor)
            network, scaling = resolve(family, variant.removeprefix(f"{family}:"))
            assert dataclasses.replace(network, name="") == dataclasses.replace(
                grown(key, strategy, factor), name=""
            )
            if scaling:
                assert (scaling.strategy, scaling.factor) == (strategy, factor)
            else:
                assert factor == 1


def test_what_is_known_of_devices_is_in_a_csv_file(written, grid):
    with (written / "out" / "tables" / "explorer-targets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    programs = grid["programs"]["networks"]
    assert len(rows) == sum(map(len, programs.values()))
    wanted = {"variant": "efficientnet:b4", "target": "gpu:h100", "batch": "128"}
    (row,) = (row for row in rows if wanted.items() <= row.items())
    (record,) = (
        record
        for record in accelerator_records.records("rows", "h100")
        if record["base"] == "efficientnet:b4"
    )
    assert int(row["memory_bytes"]) == record["memory_bytes"]
    assert float(row["floor_ms"]) == pytest.approx(record["floor_ms"], rel=1e-4)
    assert (row["origin"], row["date"]) == ("compiled", record["machine"]["date"])


def test_pictures_say_how_large_they_are():
    svg = '<svg xmlns:xlink="x" width="676.8pt" height="273.6pt" viewBox="0 0 676.8 273.6">'
    assert size(svg) == 'width="677" height="274"'


def test_without_a_device_there_are_no_times():
    found = explorer.grid(None)
    assert found["device"] is None
    assert found["networks"]["regnety:4gf"]["w"][3][-2:] == [None, None]


def test_words_are_escaped_and_code_and_powers_are_set():
    assert prose("a < b: `x & y`") == "a &lt; b: <code>x &amp; y</code>"
    assert powers("s^3/4") == "s<sup>3/4</sup>"
    assert powers("s^0.67, s^3/5.") == "s<sup>0.67</sup>, s<sup>3/5</sup>."
    assert powers("<s>") == "&lt;s&gt;"
