"""The page in a real browser: it opens, its controls move, and its figures are the counter's."""

import base64
import collections
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from fastscale_jax.arch import STRATEGIES, count, model_config, scale
from fastscale_jax.cli.application import main
from fastscale_jax.display.table import DASH
from fastscale_jax.report import inputs
from fastscale_jax.report.explorer import factors
from fastscale_jax.report.written import write
from tests.report.browsing import (
    BROWSER,
    DRIVER,
    LEAST_CONTRAST,
    By,
    Select,
    WebDriverWait,
    choose,
    copied,
    emulated,
    is_seen,
    opened,
    part,
    shown,
    sized,
    started,
)
from tests.report.made_up import row_specs, write_device, write_results, write_workdir

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the path"
    ),
]
# of each row of the table of strategies: which it is, whether it is the chosen one, its costs
OTHERS = """return [...document.querySelectorAll("#explorer-others tbody tr")].map((row) => [
  row.dataset.strategy, row.classList.contains("is-chosen"),
  ...[...row.cells].slice(1, 4).map((cell) => cell.dataset.exact)])"""
CELLS = """return [...document.querySelectorAll(arguments[0])].map(
  (row) => [...row.cells].map((cell) => cell.textContent))"""
# the whole explorer as it is read
VIEW = """return [...document.querySelectorAll(
  "#explorer-body table, #explorer-body dd, #explorer-body .chosen, #explorer-body label > span")]
  .filter((each) => each.getClientRects().length).map((each) => each.innerText)"""
TWO = "#explorer?a=regnetz:500mf_dWr_x8&b=efficientnet:b4_dWr_x1"
ENDS_OF_TABLES = """for (const table of document.querySelectorAll("figure.table")) {
  const rows = table.querySelectorAll("tbody tr");
  [table.querySelector("figcaption"), rows[0], rows[rows.length - 1]].forEach((end, i) => {
    end.id = `${table.id}--${["caption", "first", "last"][i]}`;
    const link = document.createElement("a");
    Object.assign(link, { href: `#${end.id}`, textContent: end.id, className: "to-end" });
    document.body.append(link);
  });
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report with results, a run and a device, as a file's address."""
    folder = tmp_path_factory.mktemp("report")
    given = inputs.read(
        [write_results(folder / "results.jsonl", row_specs())],
        device=str(write_device(folder / "device.json")),
        workdirs=[write_workdir(folder / "imagenet")],
    )
    write(given, folder / "out")
    return (folder / "out" / "index.html").as_uri()


@pytest.fixture(scope="module")
def started_browser(tmp_path_factory):
    browser = started(tmp_path_factory.mktemp("profile"))
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture
def browser(started_browser, address):
    """The page, open, in a light window of 1,280 pixels."""
    sized(started_browser, 1280)
    emulated(started_browser)
    if started_browser.current_url.partition("#")[0] != address:
        opened(started_browser, address)
    yield started_browser
    assert started_browser.get_log("browser") == []


@pytest.mark.parametrize(
    ("base", "strategy", "index"),
    [
        ("efficientnet:b0", "dWr", 16),
        ("regnetz:4gf", "w", 3),
        ("regnety:500mf", "a0.3", 40),
        ("resnet:50", "a1", 0),
        ("efficientnet:b0", "orig", 9),
        ("resnet:50-32x4d", "rs_depth", 20),
        ("regnetz:500mf", "rs_width", 11),
        ("efficientnet:b3", "dWr", 0),
    ],
)
def test_the_controls_move_and_the_figures_follow(browser, base, strategy, index):
    choose(browser, base, strategy, index)
    config, factor = model_config(*base.split(":")), factors(base)[index]
    network = scale(config, strategy, factor=factor)
    names = ("flops", "params", "acts")
    assert tuple(shown(part(browser, f"a-{name}")) for name in names) == count(network)
    assert part(browser, "a-resolution").text == f"{network.resolution} px"
    assert part(browser, "a-factor-value").text.split()[0] == f"{factor:g}"
    stages = part(browser, "stages").text.splitlines()[2:-1]
    sizes = zip(network.depths, network.widths, network.group_widths, strict=True)
    wanted = [" ".join(f"{n:,}" for n in (i, *of)) for i, of in enumerate(sizes, start=1)]
    assert stages == wanted
    rows = browser.execute_script(OTHERS)
    assert [name for name, *_ in rows] == list(dict.fromkeys((*STRATEGIES, strategy)))
    for other, is_chosen, *costs in rows:
        grown = count(scale(config, other, factor=factor))
        assert tuple(map(int, costs)) == grown
        assert is_chosen == (other == strategy)


@pytest.mark.parametrize(
    ("base", "strategy", "index"),
    [
        ("regnetz:500mf", "a1", factors("regnetz:500mf").index(10)),
        ("efficientnet:b0", "orig", 7),
        ("regnety:4gf", "rs_depth", 12),
        ("resnet:50", "dwr", 0),
    ],
)
def test_what_is_copied_is_what_commands_take_and_print(browser, capsys, base, strategy, index):
    choose(browser, base, strategy, index)
    variant, command = (copied(browser, f"a-copy-{name}") for name in ("variant", "command"))
    if (base, strategy) == ("regnetz:500mf", "a1"):
        assert variant == "regnetz:500mf_a1_x10"
    assert command == f"fastscale info {variant}"
    assert main([*command.split()[1:], "--format=json"]) == 0
    assert json.loads(copied(browser, "a-copy-json")) == json.loads(capsys.readouterr().out)


def reload(browser):
    """Returns when the page's script has drawn the explorer: the driver may be back before."""
    browser.refresh()
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(VIEW))


def shows(browser, wanted):
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(VIEW) == wanted)


def test_a_link_is_copied_that_shows_the_same_and_so_does_a_reload(browser, address):
    opened(browser, address + TWO)
    choose(browser, "regnety:500mf", "a0.3", 21)
    choose(browser, "regnetz:4gf", "rs_width", 9, side="b")
    part(browser, "copy-link").click()
    wanted = browser.execute_script(VIEW)
    assert any(
        "RegNetY-500MF scaled by \N{GREEK SMALL LETTER ALPHA} = 0.3" in words for words in wanted
    )
    a, b = (factors(base)[index] for base, index in (("regnety:500mf", 21), ("regnetz:4gf", 9)))
    view = f"#explorer?a=regnety:500mf_a0.3_x{a:g}&b=regnetz:4gf_rs_width_x{b:g}"
    WebDriverWait(browser, 5).until(lambda _: browser.current_url.endswith(view))
    shared = browser.current_url
    reload(browser)
    shows(browser, wanted)
    opened(browser, shared)
    shows(browser, wanted)
    # a link to another part of the page keeps the view for a reload
    browser.execute_script("location.hash = '#table-5'")
    WebDriverWait(browser, 5).until(lambda _: browser.execute_script("return !!history.state"))
    reload(browser)
    shows(browser, wanted)
    # and back again
    browser.back()
    shows(browser, wanted)


@pytest.mark.parametrize(
    ("view", "words", "variant"),
    [
        ("a=regnetz:500mf_dWr_x9", "_x9 is not on this page; the nearest, ", "regnetz:500mf_dWr_x"),
        ("a=regnetz:9gf_w_x2", "regnetz:9gf_w_x2 is no network of this page", "efficientnet:b0_"),
        ("a=<img src=x>&b=toString_w_x2", "is no network of this page; toString", "efficientnet:"),
        ("a=regnetz:500mf", "", "regnetz:500mf"),
        ("b=resnet:50", "", "efficientnet:b0_dWr_x10"),
    ],
)
def test_an_address_that_names_no_network_says_so(browser, address, view, words, variant):
    opened(browser, f"{address}#explorer?{view}")
    said = part(browser, "said").text
    assert words in said
    assert bool(said) == bool(words)
    assert part(browser, "a-variant").text.startswith(variant)


def test_two_networks_stand_side_by_side_with_their_differences(browser, address):
    opened(browser, address + TWO)
    costs = [
        count(scale(model_config("regnetz"), "dWr", factor=8)),
        count(model_config("efficientnet", "b4")),
    ]
    rows = {row[0]: row[1:] for row in browser.execute_script(CELLS, "#explorer-differences tr")}
    for name, one, other in zip(("flops", "params", "acts"), *costs, strict=True):
        ratio = float(rows[name][2].removeprefix("\N{MULTIPLICATION SIGN} "))
        assert ratio == pytest.approx(other / one, rel=5e-3)
        cells = browser.find_elements(
            By.CSS_SELECTOR, f"#explorer-differences tr[data-name={name}] td[data-exact]"
        )
        assert [int(each.get_attribute("data-exact")) for each in cells] == [one, other]
    a, b = (part(browser, side).rect for side in ("a", "b"))
    assert a["y"] == b["y"]
    assert a["x"] + a["width"] <= b["x"]
    stages = browser.execute_script(CELLS, "#explorer-stages tbody tr")
    assert stages[1] == ["1", "1", "40", "8", "2", "24", "1"]
    assert stages[7] == ["7", *[DASH] * 3, "2", "448", "1"]
    part(browser, "compare").click()
    assert not is_seen(part(browser, "b"))
    assert not is_seen(part(browser, "differences"))
    # the second network comes back
    part(browser, "compare").click()
    assert part(browser, "b-variant").text == "efficientnet:b4"


def test_the_second_network_is_the_first_to_begin_with(browser, address):
    opened(browser, address + "#explorer?a=regnety:4gf_a0.3_x2")
    part(browser, "compare").click()
    assert part(browser, "b-variant").text == part(browser, "a-variant").text
    assert part(browser, "b-variant").text == "regnety:4gf_a0.3_x2"
    rows = browser.execute_script(CELLS, "#explorer-differences tbody tr")
    assert {row[3] for row in rows} == {"\N{MULTIPLICATION SIGN} 1.00"}


def test_devices_that_are_not_here_have_their_figures_or_say_that_there_are_none(browser, address):
    opened(browser, address + "#explorer?a=regnetz:500mf_dWr_x16")
    rows = browser.execute_script(CELLS, "#explorer-targets tbody tr")
    known = {(row[0], row[1]): row[2:] for row in rows}
    assert known["gpu:h100", "128, bfloat16"][0] == "128"
    assert known["gpu:h100", "128, bfloat16"][1].endswith(" GB")
    assert "≈" not in "".join(known["gpu:h100", "128, bfloat16"])
    assert known["gpu:h100", "largest, bfloat16"] == ["not compiled"]
    between = known["gpu:a100", "128, bfloat16"]
    assert all(cell.startswith("≈ ") for cell in between[1:4])
    assert between[4].endswith("between x8.1 and x31.5")
    assert not part(browser, "missing-programs").text

    def ratios(other):
        opened(browser, f"{address}#explorer?a=regnetz:500mf_dWr_x16&b={other}")
        rows = browser.execute_script(CELLS, "#explorer-targets tr[data-of=b]")
        return {tuple(row[:2]): row[-1] for row in rows}

    # of one date, and interpolated; of two dates; not compiled
    of_one_date, of_two = ratios("regnety:500mf_dWr_x16"), ratios("efficientnet:b4")
    assert of_one_date["gpu:a100", "128, bfloat16"].startswith("≈ \N{MULTIPLICATION SIGN} ")
    assert of_two["gpu:a100", "128, bfloat16"] == DASH
    assert of_one_date["gpu:h100", "largest, bfloat16"] == DASH
    opened(browser, address + "#explorer?a=resnet:50_w_x4")
    rows = browser.execute_script(CELLS, "#explorer-targets tbody tr")
    assert {tuple(row[2:]) for row in rows} == {("not compiled",)}
    said = part(browser, "missing-programs").find_elements(By.TAG_NAME, "code")
    *compiling, showing = (each.text for each in said)
    targets = ("gpu:a100", "gpu:h100", "gpu:v100", "tpu:v5e")
    files = [f"programs-{target.replace(':', '-')}.jsonl" for target in targets]
    assert sorted(compiling) == [
        f"fastscale curves --target={target} --bases=resnet:50 --strategies=w --factors=4 "
        f"--results={file}"
        for target, file in zip(targets, files, strict=True)
    ]
    assert sorted(showing.partition("--programs=")[2].split(",")) == files
    safe = browser.execute_script("return Grid.fileOf('tpu:v5e:2x2')")
    assert safe == "programs-tpu-v5e-2x2.jsonl"


def test_the_plot_marks_the_chosen_networks(browser, address):
    opened(browser, address + TWO)
    rings = browser.execute_script(
        "return [...document.querySelectorAll('.ring')].map((ring) => ({ ...ring.dataset }))"
    )
    cost = count(scale(model_config("regnetz"), "dWr", factor=8))
    assert rings[0] == {"of": "a", "flops": str(cost.flops), "acts": str(cost.acts)}
    assert rings[1]["acts"] == str(count(model_config("efficientnet", "b4")).acts)
    curves = browser.find_elements(By.CSS_SELECTOR, "#explorer-plot g.curve")
    assert [each.get_attribute("data-strategy") for each in curves] == [*STRATEGIES]
    # plot and tables have the same units
    units = browser.execute_script("return [5, 5e3, 5e6, 5e9, 5e12].map(Grid.unit)")
    assert units == [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"]]
    # a click chooses what is under it
    browser.find_element(By.CSS_SELECTOR, "g[data-strategy=dwr] .mark-of:last-child").click()
    assert part(browser, "a-variant").text.startswith("regnetz:500mf_dwr_x")


def test_a_time_beyond_what_was_measured_is_marked(browser):
    marks = {}
    for index in (0, 40):
        choose(browser, "regnetz:500mf", "dWr", index)
        marks[index] = part(browser, "a-step").text
    assert "ms" in marks[0]
    assert "beyond" not in marks[0]
    assert "beyond" in marks[40]


def test_nothing_is_loaded(browser):
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_can_be_read(browser, address, scheme):
    emulated(browser, scheme)
    opened(browser, address + TWO)
    contrast, of = browser.execute_script(LEAST_CONTRAST)
    assert contrast >= 4.5, of
    figure = browser.find_element(By.CSS_SELECTOR, ".drawing img")
    picture = np.asarray(Image.open(io.BytesIO(figure.screenshot_as_png)).convert("L"), int)
    ground, darkest, lightest = picture[2, 2], picture.min(), picture.max()
    assert ground == (255 if scheme == "light" else 26)
    assert darkest < 60
    assert lightest > 200
    assert ground in (darkest, lightest)


def test_the_switch_is_remembered_and_can_be_left_to_the_system(browser, address):
    def ground():
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    switch = Select(browser.find_element(By.ID, "theme"))
    switch.select_by_value("dark")
    dark = ground()
    assert dark != light
    reload(browser)
    assert ground() == dark
    emulated(browser, "dark")
    Select(browser.find_element(By.ID, "theme")).select_by_value("light")
    assert ground() == light
    Select(browser.find_element(By.ID, "theme")).select_by_value("")
    assert ground() == dark
    emulated(browser)
    reload(browser)
    assert ground() == light


def test_no_error_is_hidden_at_1280_pixels(browser):
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 1280
    hidden = browser.execute_script(
        """return [...document.querySelectorAll("th")].filter((head) => {
          const frame = head.closest(".scroll").getBoundingClientRect();
          return head.getBoundingClientRect().right > frame.right + 1;
        }).filter((head) => head.parentElement !== head.closest("table").rows[0])
          .map((head) => head.innerText)"""
    )
    words = {re.sub(r"\s+[A-Z]$", "", word) for word in map(str.strip, hidden) if word}
    # of the training step, which stands last
    assert words <= {"px", "epoch, min", "÷ printed", "device", "date", "images", "ms a step"}
    errors = browser.find_elements(By.CSS_SELECTOR, "#table-5 th")
    assert "error by schedule" in " ".join(each.text for each in errors)


@pytest.mark.parametrize("width", [1280, 390])
def test_links_land_at_what_they_name(browser, address, width):
    sized(browser, width)
    for name in ("figure-12", "explorer", "table-8"):
        opened(browser, f"{address}#{name}")
        top = "return document.getElementById(arguments[0]).getBoundingClientRect().top"
        assert abs(browser.execute_script(top, name)) < 2
    opened(browser, address + TWO)
    assert abs(browser.execute_script(top, "explorer")) < 2
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_every_control_is_reached_by_the_keyboard_and_has_a_name(browser, address):
    opened(browser, address + TWO)
    found = browser.execute_script(
        """return [...document.querySelectorAll(
          "#explorer button, #explorer select, #explorer input, #theme, .scroll")]
          .filter((each) => each.getClientRects().length)
          .map((each) => [each.tabIndex, each.textContent || each.getAttribute("aria-label")
            || each.labels?.[0]?.textContent || ""])"""
    )
    assert len(found) > 30
    assert [each for each in found if each[0] or not each[1].strip()] == []


def printed(browser):
    """The page as PDF."""
    answer = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    return base64.b64decode(answer["data"])


def test_it_prints_on_landscape_pages_with_each_table_by_its_caption(browser, address):
    opened(browser, address)
    browser.execute_script(ENDS_OF_TABLES)
    pdf = printed(browser)
    assert pdf.startswith(b"%PDF")
    boxes = [[float(n) for n in box.split()] for box in re.findall(rb"/MediaBox \[(.*?)\]", pdf)]
    points = 72 / 25.4  # in a millimetre
    assert {(round(w / points), round(h / points)) for _, _, w, h in boxes} == {(297, 210)}
    assert 10 < len(boxes) < 40
    # pages of what is linked to
    found = re.findall(rb"/([\w-]+)--(caption|first|last) \[(\d+) 0 R /XYZ", pdf)
    pages = collections.defaultdict(set)
    for name, _, page in found:
        pages[name].add(page)
    assert len(pages) == 13
    assert len(found) >= 3 * 13 - 1  # a table of one row has two ends
    assert [name for name, on in pages.items() if len(on) > 1] == []


def test_it_prints_dark_on_white_from_a_dark_page(browser, address):
    emulated(browser, "dark", media="print")
    opened(browser, address + TWO)
    assert browser.execute_script(
        """return [getComputedStyle(document.body).backgroundColor,
          getComputedStyle(document.querySelector(".drawing img")).filter,
          getComputedStyle(document.getElementById("explorer-a-base")).display === "inline-block"
            && document.getElementById("explorer-a-base").getClientRects().length]"""
    ) == ["rgb(255, 255, 255)", "none", 0]
    assert browser.execute_script(LEAST_CONTRAST)[0] >= 4.5
    assert is_seen(part(browser, "differences"))


def test_without_scripts_tables_and_figures_stay(tmp_path, address):
    browser = started(tmp_path / "profile", has_scripts=False)
    try:
        browser.get(address)
        tables = browser.find_elements(By.CSS_SELECTOR, "table[data-name]")
        assert len(tables) == 13
        assert all(map(is_seen, tables))
        drawings = browser.find_elements(By.CSS_SELECTOR, ".drawing img")
        assert len(drawings) == 11
        assert all(map(is_seen, drawings))
        assert is_seen(browser.find_element(By.CLASS_NAME, "notice"))
        assert not is_seen(part(browser, "body"))
        assert not is_seen(browser.find_element(By.ID, "theme"))
    finally:
        browser.quit()
