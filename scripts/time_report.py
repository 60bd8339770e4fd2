"""How long a report takes to open: until the figures in view are drawn and the table answers.

    python scripts/time_report.py report.html

Cold: a new browser for every round. Counted from the start of the navigation, on the browser's own clock.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from screenshot_report import open_browser
from selenium.webdriver.support.ui import WebDriverWait

_READY = """
const rows = document.getElementById("table") === null || document.documentElement.dataset.table === "ready";
const inView = [...document.querySelectorAll("[data-figure]")].filter(
  (place) => place.getBoundingClientRect().top < innerHeight);
return rows && inView.every((place) => place.dataset.shown);
"""
_OPENED = """
const inView = [...document.querySelectorAll("[data-figure]")].filter(
  (place) => place.getBoundingClientRect().top < innerHeight);
const names = ["table ready", ...inView.map((place) => `figure drawn: ${place.dataset.figure}`)];
const firsts = names.map((name) => performance.getEntriesByName(name)[0]?.startTime ?? 0);
return [performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd, Math.max(...firsts)];
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    opened = [time_once(arguments.page) for _ in range(arguments.rounds)]
    for name, times_ms in zip(("scripts run", "figures in view and table"), zip(*opened, strict=True), strict=True):
        shown = ", ".join(f"{time_ms:.0f}" for time_ms in times_ms)
        print(f"{name}: median {statistics.median(times_ms):.0f} ms ({shown})")


def time_once(page: Path) -> tuple[float, float]:
    driver = open_browser(1280)
    try:
        driver.get(page.resolve().as_uri())
        WebDriverWait(driver, 60).until(lambda browser: browser.execute_script(_READY))
        scripts_ms, ready_ms = driver.execute_script(_OPENED)
    finally:
        driver.quit()
    return scripts_ms, ready_ms


if __name__ == "__main__":
    main()
