"""A picture of the report, as a browser without a window draws it.

    python scripts/screenshot_report.py                                   # results/*/*.json into docs/report.png
    python scripts/screenshot_report.py --page report.html other.png --width 500 --dark

Needs Chromium with its driver (Debian: chromium, chromium-driver), selenium (extra `dev`) and, to make the page, the
extra `report`.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

_ROOT = Path(__file__).resolve().parents[1]
_TITLE = "Decode attention, measured beside predicted"
_HEIGHT = 2300  # of the picture of docs: down to the maps of the sparse speed-up
_DRAWN = """
return [...document.querySelectorAll("[data-figure]")].every((place) => place.dataset.shown)
  && (!document.getElementById("table") || document.documentElement.dataset.table === "ready");
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


def take_picture(page: Path, picture: Path, *, width: int, height: int, scale: float, is_dark: bool) -> None:
    """Open a page, wait for every figure, and write its upper part, or with height 0 all of it, as PNG."""
    driver = open_browser(width)
    try:
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        theme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
        driver.get(page.resolve().as_uri())
        WebDriverWait(driver, 60).until(lambda browser: browser.execute_script(_DRAWN))
        whole = driver.execute_script("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height or whole, whole), "scale": scale}
        shot: dict[str, Any] = driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        picture.write_bytes(base64.b64decode(shot["data"]))
    finally:
        driver.quit()


def published_page(folder: Path) -> Path:
    """The page of the result files that are published with the sources."""
    from kinetics.report.page import write_report
    from kinetics.report.sources import read_sources

    page = folder / "report.html"
    write_report(read_sources(sorted(_ROOT.glob("results/*/*.json")), baseline=None), page, title=_TITLE)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("picture", type=Path, nargs="?", default=_ROOT / "docs" / "report.png")
    parser.add_argument("--page", type=Path, help="instead of one made of results/*/*.json")
    parser.add_argument("--width", type=int, default=1280, help="of the window, in pixels")
    parser.add_argument("--height", type=int, default=_HEIGHT, help="of the picture; 0: the whole page")
    parser.add_argument("--scale", type=float, default=1.0, help="pixels of the picture per pixel of the page")
    parser.add_argument("--dark", action="store_true")
    arguments = parser.parse_args()
    look = {name: getattr(arguments, name) for name in ("width", "height", "scale")}
    with tempfile.TemporaryDirectory() as folder:
        page = arguments.page or published_page(Path(folder))
        take_picture(page, arguments.picture, **look, is_dark=arguments.dark)


if __name__ == "__main__":
    main()
