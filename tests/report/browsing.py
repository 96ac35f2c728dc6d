"""A real browser for the tests of the report's page."""

import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
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
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
IS_READY = """return document.readyState === "complete"
  && !!document.getElementById("explorer-a-variant")?.textContent"""
# the least contrast of words with what is behind them, and whose it is
LEAST_CONTRAST = """
const channels = (text) => text.match(/[\\d.]+/g).map(Number);
const luminance = (color) => color.slice(0, 3)
  .map((x) => x / 255).map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
  .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const color = channels(getComputedStyle(each).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
let worst = [99, ""];
for (const element of document.body.querySelectorAll("*")) {
  const hasWords = [...element.childNodes].some((x) => x.nodeType === 3 && x.data.trim());
  if (!hasWords || !element.getClientRects().length) continue;
  if (element.matches(":disabled, script")) continue;
  const style = getComputedStyle(element);
  const color = element.closest("svg") ? style.fill : style.color;
  const [dark, light] = [channels(color), ground(element)].map(luminance).sort((a, b) => a - b);
  const found = (light + 0.05) / (dark + 0.05);
  if (found < worst[0]) worst = [found, element.outerHTML];
}
return worst;
"""


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


def opened(browser, address):
    """Opens an address afresh, also where it differs from the page's in its hash alone."""
    browser.get("about:blank")
    browser.get(address)
    WebDriverWait(browser, 10).until(lambda _: browser.execute_script(IS_READY))


def part(browser, name):
    return browser.find_element(By.ID, f"explorer-{name}")


def choose(browser, base, strategy, index, side="a"):
    """Sets the controls of a side as a person does: by choosing, and by the keyboard."""
    Select(part(browser, f"{side}-base")).select_by_value(base)
    named = Select(part(browser, f"{side}-strategy"))
    if strategy.startswith("a"):
        named.select_by_value("alpha")
        slide(browser, f"{side}-alpha", round(10 * float(strategy[1:])))
    else:
        named.select_by_value(strategy)
    if part(browser, f"{side}-factor").is_enabled():
        slide(browser, f"{side}-factor", index)


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


def copied(browser, name):
    """What is in the clipboard once a button was pressed, by the keyboard."""
    part(browser, name).send_keys(Keys.ENTER)
    WebDriverWait(browser, 5).until(lambda _: part(browser, name).text == "Copied")
    browser.execute_script("document.body.append(document.createElement('textarea'))")
    area = browser.find_element(By.CSS_SELECTOR, "body > textarea")
    area.send_keys(Keys.CONTROL, "v")
    text = area.get_attribute("value")
    browser.execute_script("arguments[0].remove()", area)
    return text


def emulated(browser, scheme="light", media=""):
    """Makes the system light or dark, or the page printed."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def sized(browser, width):
    """Makes the window as wide as this; a phone's where it is narrow. 0: as it was."""
    if not width:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        return
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def is_seen(element):
    return element.is_displayed() and element.size["height"] > 0
