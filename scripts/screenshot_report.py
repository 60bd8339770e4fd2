"""A picture of the report, as a browser without a window draws it.

    python scripts/screenshot_report.py report.html docs/report.png

Needs Chromium with its driver (Debian: chromium, chromium-driver) and selenium (extra `dev`). The page's state when
the picture is taken is that of a reader who has scrolled to the end and back.
"""

from __future__ import annotations

import argparse
import base64
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

_DRAWN = """
const places = [...document.querySelectorAll("[data-figure]")];
const hidden = places.find((place) => !place.dataset.shown);
if (hidden) hidden.scrollIntoView();
return !hidden && document.documentElement.dataset.table === "ready";
"""


def _find(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit(f"{names[0]} must be on PATH, got none; apt-get install chromium chromium-driver")
    return found


def open_browser(width: int) -> webdriver.Chrome:
    """Chromium without a window."""
    options = Options()
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},1000"):
        options.add_argument(flag)
    # Both paths are named so that selenium looks for neither of them on the network.
    options.binary_location = _find("chromium", "chromium-browser", "google-chrome")
    return webdriver.Chrome(options=options, service=Service(_find("chromedriver")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280, help="of the window, in pixels")
    parser.add_argument("--height", type=int, default=0, help="of the picture; 0: the whole page")
    parser.add_argument("--scale", type=float, default=1.0, help="pixels of the picture per pixel of the page")
    parser.add_argument("--dark", action="store_true")
    arguments = parser.parse_args()
    driver = open_browser(arguments.width)
    try:
        theme = [{"name": "prefers-color-scheme", "value": "dark" if arguments.dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
        driver.get(arguments.page.resolve().as_uri())
        WebDriverWait(driver, 60).until(lambda browser: browser.execute_script(_DRAWN))
        driver.execute_script("window.scrollTo(0, 0)")
        whole = driver.execute_script("return document.documentElement.scrollHeight")
        clip = {
            "x": 0,
            "y": 0,
            "width": arguments.width,
            "height": arguments.height or whole,
            "scale": arguments.scale,
        }
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        arguments.picture.write_bytes(base64.b64decode(shot["data"]))
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
