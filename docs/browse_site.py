"""Opens every page of the built site in a browser, wide and narrow, light and dark.

python -m mkdocs build --strict && python -m docs.browse_site site --screenshots=shots

Prints errors of the console, what is fetched from elsewhere, and pages that are wider than the
window. Needs chromium, chromedriver and selenium (extra `test`).
"""

import argparse
import contextlib
import functools
import http.server
import itertools
import json
import pathlib
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator

from selenium import webdriver

WIDTHS, SCHEMES = {"wide": 1280, "narrow": 390}, ("light", "dark")
LOOKS = (("wide", "light"), ("narrow", "dark"))
_HEIGHT = 1000
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root, in a container, cannot have
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
_SCHEME = "return document.body.dataset.mdColorScheme"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing of requests."""


@contextlib.contextmanager
def served(site: pathlib.Path) -> Iterator[str]:
    """Serves a folder on this machine; the address."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def browser(profile: str) -> Iterator[webdriver.Chrome]:
    """Starts a browser with a profile of its own, and ends it."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield started
    finally:
        started.quit()


def faults(driver: webdriver.Chrome, address: str, scheme: str) -> Iterator[str]:
    """Opens a page and yields what is wrong with it."""
    driver.get(address)
    for entry in driver.get_log("browser"):
        if entry["level"] in ("SEVERE", "WARNING"):
            yield f"console: {entry['message']}"
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if url.startswith("http") and not url.startswith("http://127.0.0.1:"):
                yield f"fetches {url}"
    wider = driver.execute_script(_WIDER)
    if wider > 0:
        yield f"{wider} pixels wider than the window"
    if driver.execute_script(_SCHEME) != {"light": "default", "dark": "slate"}[scheme]:
        yield f"is not {scheme}"


def main() -> int:
    """Opens all pages, prints what is wrong, and returns the exit status."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("site", type=pathlib.Path, help="folder of the built site")
    arguments.add_argument("--screenshots", type=pathlib.Path, help="folder to write them to")
    arguments.add_argument("--all", action="store_true", help="both widths in both schemes")
    given = arguments.parse_args()
    looks = tuple(itertools.product(WIDTHS, SCHEMES)) if given.all else LOOKS
    pages = sorted(path.relative_to(given.site) for path in given.site.rglob("index.html"))
    count = 0
    with (
        tempfile.TemporaryDirectory() as profile,
        served(given.site) as address,
        browser(profile) as driver,
    ):
        driver.execute_cdp_cmd("Network.enable", {})
        for look in looks:
            width, scheme = WIDTHS[look[0]], look[1]
            feature = {"name": "prefers-color-scheme", "value": scheme}
            metrics = {"width": width, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            # Pages keep the palette in localStorage. It is cleared while none is open, because a
            # page's script could write it again.
            driver.get("about:blank")
            stored = {"origin": address, "storageTypes": "local_storage"}
            driver.execute_cdp_cmd("Storage.clearDataForOrigin", stored)
            for page in pages:
                for fault in faults(driver, f"{address}/{page.as_posix()}", scheme):
                    count += 1
                    print(f"{page} {'-'.join(look)}: {fault}")
                if given.screenshots:
                    given.screenshots.mkdir(parents=True, exist_ok=True)
                    name = f"{page.parent.name or 'home'}-{'-'.join(look)}.png"
                    driver.save_screenshot(str(given.screenshots / name))
    print(f"{len(pages)} pages, {len(looks)} looks: {count} faults")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
