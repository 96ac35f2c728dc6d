"""The page in a real browser: it opens, its controls move, and its figures are the counter's."""

import base64
import re
import shutil

import pytest

from fastscale_jax.arch import STRATEGIES, count, model_config, scale
from fastscale_jax.report import inputs
from fastscale_jax.report.networks import FACTORS
from fastscale_jax.report.written import write
from tests.report.made_up import write_device

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver on the path"
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root, in a container, cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
# of each row of the table of strategies: which it is, whether it is the chosen one, its costs
OTHERS = """return [...document.querySelectorAll("#explorer-others tbody tr")].map((row) => [
  row.dataset.strategy, row.classList.contains("is-chosen"),
  ...[...row.cells].slice(1, 4).map((cell) => cell.dataset.exact)])"""
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def started(profile, has_scripts=True):
    """A browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if not has_scripts:
        setting = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", setting)
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report with a device, as a file's address."""
    folder = tmp_path_factory.mktemp("report")
    write(inputs.read(device=str(write_device(folder / "device.json"))), folder / "out")
    return (folder / "out" / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory, address):
    """The page, open."""
    browser = started(tmp_path_factory.mktemp("profile"))
    try:
        browser.get(address)
        yield browser
    finally:
        browser.quit()


def part(browser, name):
    return browser.find_element(By.ID, f"explorer-{name}")


def choose(browser, base, strategy, index):
    """Sets the controls as a person does: by choosing, and by the keyboard."""
    Select(part(browser, "base")).select_by_value(base)
    if strategy.startswith("a"):
        slide(browser, "alpha", round(10 * float(strategy[1:])))
    else:
        Select(part(browser, "strategy")).select_by_value(strategy)
    slide(browser, "factor", index)


def slide(browser, name, index):
    # away from where it will stand, so that it moves in any case
    part(browser, name).send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.HOME)
    part(browser, name).send_keys(Keys.ARROW_RIGHT * index)


def shown(element):
    """A figure's exact value, after a look at what people read."""
    number, _, unit = element.text.partition(" ")
    exact = int(element.get_attribute("data-exact"))
    assert float(number) * UNITS.get(unit, 1) == pytest.approx(exact, rel=6e-4)
    assert element.get_attribute("title") == f"{exact:,}"
    return exact


@pytest.mark.parametrize(
    ("base", "strategy", "index"),
    [
        ("efficientnet:b0", "dWr", 16),
        ("regnetz:4gf", "w", 3),
        ("regnety:500mf", "a0.3", 32),
        ("resnet:50", "a1", 0),
        ("efficientnet:b0", "orig", 9),
    ],
)
def test_the_controls_move_and_the_figures_follow(browser, base, strategy, index):
    choose(browser, base, strategy, index)
    config = model_config(*base.split(":"))
    network = scale(config, strategy, factor=FACTORS[index])
    names = ("flops", "params", "acts")
    assert tuple(shown(part(browser, name)) for name in names) == count(network)
    assert part(browser, "resolution").text == f"{network.resolution} px"
    assert part(browser, "factor-value").text == f"{FACTORS[index]:g}"
    stages = part(browser, "stages").text.splitlines()[2:-1]
    sizes = zip(network.depths, network.widths, network.group_widths, strict=True)
    wanted = [" ".join(f"{n:,}" for n in (i, *of)) for i, of in enumerate(sizes, start=1)]
    assert stages == wanted
    rows = browser.execute_script(OTHERS)
    assert [name for name, *_ in rows] == list(dict.fromkeys((*STRATEGIES, strategy)))
    for other, is_chosen, *costs in rows:
        grown = count(scale(config, other, factor=FACTORS[index]))
        assert tuple(map(int, costs)) == grown
        assert is_chosen == (other == strategy)


def test_the_plot_marks_the_chosen_point(browser):
    choose(browser, "regnetz:500mf", "dWr", 5)
    cost = count(scale(model_config("regnetz"), "dWr", factor=FACTORS[5]))
    traces = browser.execute_script("return document.getElementById('explorer-plot').data")
    chosen = next(trace for trace in traces if trace["name"] == "chosen")
    assert (chosen["x"], chosen["y"]) == ([cost.flops], [cost.acts])
    assert len(traces) == len(STRATEGIES) + 1
    assert browser.find_elements(By.CSS_SELECTOR, "#explorer-plot svg")


def test_a_time_beyond_what_was_measured_is_marked(browser):
    marks = {}
    for index in (0, 32):
        choose(browser, "regnetz:500mf", "dWr", index)
        marks[index] = part(browser, "step").text
    assert "ms" in marks[0]
    assert "beyond" not in marks[0]
    assert "beyond" in marks[32]


def test_nothing_is_wrong_and_nothing_is_loaded(browser):
    assert browser.get_log("browser") == []
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []


def test_it_fits_a_phone(browser):
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        width = browser.execute_script("return document.documentElement.scrollWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 390


def test_it_prints_on_landscape_pages(browser):
    answer = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    printed = base64.b64decode(answer["data"])
    assert printed.startswith(b"%PDF")
    boxes = [
        [float(n) for n in box.split()] for box in re.findall(rb"/MediaBox \[(.*?)\]", printed)
    ]
    points = 72 / 25.4  # in a millimetre
    assert {(round(w / points), round(h / points)) for _, _, w, h in boxes} == {(297, 210)}
    assert 10 < len(boxes) < 60


def test_without_scripts_tables_and_figures_stay(tmp_path, address):
    browser = started(tmp_path / "profile", has_scripts=False)
    try:
        browser.get(address)
        tables = browser.find_elements(By.CSS_SELECTOR, "table[data-name]")
        assert len(tables) == 11
        assert all(map(is_seen, tables))
        drawings = browser.find_elements(By.CSS_SELECTOR, ".drawing img")
        assert len(drawings) == 11
        assert all(map(is_seen, drawings))
        assert is_seen(browser.find_element(By.CLASS_NAME, "notice"))
        assert not is_seen(part(browser, "body"))
    finally:
        browser.quit()


def is_seen(element):
    return element.is_displayed() and element.size["height"] > 0
