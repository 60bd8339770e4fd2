"""Chromium without a window, for tests that look at a page; where there is none they skip and say so."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@contextmanager
def chromium() -> Iterator[Any]:
    """A driver that keeps the browser's log and every request; skips without selenium or Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    if not CHROMIUM or not DRIVER:
        pytest.skip("no chromium: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = CHROMIUM
    profile = tempfile.mkdtemp()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


def wait(browser: Any, script: str, *arguments: Any) -> Any:
    """What the script says once it says something."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60).until(lambda one: one.execute_script(script, *arguments))


def open_page(browser: Any, url: str) -> None:
    """Open a report and wait for its table."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(url)
    wait(
        browser,
        "return !document.getElementById('table') || document.documentElement.dataset.table === 'ready'",
    )


def draw_everything(browser: Any) -> None:
    """Wait until every figure is drawn, as those are that nobody looks at."""
    wait(browser, "return [...document.querySelectorAll('[data-figure]')].every((place) => place.dataset.shown)")


def complaints(browser: Any) -> list[str]:
    """What the browser's log holds against the page."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"]


def set_media(browser: Any, *, scheme: str = "", media: str = "") -> None:
    """Emulate the reader's colour scheme, and a printer."""
    features = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": media})


def set_width(browser: Any, width: int) -> None:
    """Emulate a screen of this width in CSS pixels; 0 for the window's own."""
    if not width:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        return
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
