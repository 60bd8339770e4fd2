"""The page in Chromium without a window: no error, no request, figures drawn, a table that filters and sorts."""

import json

import pytest

from kinetics.report.page import write_report
from kinetics.report.sources import read_sources
from tests.support.chromium import complaints, draw_everything, open_page, wait

pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

EVIL = "</script><img src=x onerror=\"document.title='taken'\">"
CONTEXTS = [1024 * 2**i for i in range(6)]


@pytest.fixture
def page(result, row, law, tmp_path, browser):
    """Opens the page of two devices, one with hostile names, each 2 operations x 6 contexts, a law and a baseline."""
    rows = [
        row(operation, context_len=c, kv_budget=budget, samples=[s * (1 + i / 90) for i in range(9)], **names)
        for names in ({}, {"provider": EVIL, "model": EVIL})
        for c in CONTEXTS
        for operation, budget, s in (("dense", None, c * 1e-6), ("block_topk", 512, 2e-3))
    ]
    cpu = result("cpu.json", rows)
    gpu = result(
        "gpu.json",
        [row(context_len=c, dtype="bfloat16", samples=[c * 1e-8] * 9) for c in CONTEXTS],
        device="Made GPU",
        slug="made-gpu",
    )
    out = tmp_path / "report.html"
    write_report(read_sources([cpu, gpu, law], baseline=cpu), out, title=f"Report {EVIL}")
    open_page(browser, out.as_uri())
    return browser


def visible_rows(browser):
    return browser.execute_script(
        """return [...document.querySelectorAll("#table tbody tr")].map(
            (line) => [...line.querySelectorAll("td")].map((cell) => cell.innerText));"""
    )


def counted(browser):
    return browser.find_element(By.CSS_SELECTOR, ".dt-info").text


def choose(browser, title, text):
    """Set the list above the table that filters by the column of this title."""
    place = browser.execute_script(
        """return [...document.querySelectorAll(".filters label")].find(
            (label) => label.firstChild.textContent.trim() === arguments[0]).querySelector("select");""",
        title,
    )
    Select(place).select_by_visible_text(text)


def column(browser, title):
    find = "return [...document.querySelectorAll('#table thead th')].map((cell) => cell.innerText.trim())"
    return browser.execute_script(find).index(title)


def num_pixels(browser, place):
    """Painted pixels on the canvases of the figures of a place: a figure without marks or axes has none."""
    return browser.execute_script(
        """let count = 0;
        const visit = (node) => {
          for (const child of node.children) visit(child);
          if (node.shadowRoot) visit(node.shadowRoot);
          if (node.tagName !== "CANVAS" || !node.width || !node.height) return;
          const data = node.getContext("2d").getImageData(0, 0, node.width, node.height).data;
          for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
        };
        visit(arguments[0]);
        return count;""",
        place,
    )


def test_the_page_draws_every_figure_without_an_error_or_a_request(page):
    draw_everything(page)
    places = page.find_elements(By.CSS_SELECTOR, "[data-figure]")
    assert len(places) == 5
    assert [num_pixels(page, place) > 500 for place in places] == [True] * len(places)
    assert complaints(page) == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    urls = [
        one["request"]["url"] for one in sent if one["documentURL"] == page.current_url
    ]  # not the browser's own tab
    assert {url.split(":", 1)[0] for url in urls} <= {"file", "data", "blob"}
    assert len([url for url in urls if url.startswith("file:")]) == 1


def test_hostile_names_are_shown_and_not_run(page):
    draw_everything(page)
    assert page.title == f"Report {EVIL}"
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x], img[onerror]") == []
    choose(page, "model", EVIL)
    assert {cells[column(page, "provider")] for cells in visible_rows(page)} == {EVIL}
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x], img[onerror]") == []


def test_lists_and_search_filter_rows(page):
    assert "30" in counted(page)
    choose(page, "operation", "block_topk")
    assert "12" in counted(page).split("filtered")[0]
    assert {cells[column(page, "operation")] for cells in visible_rows(page)} == {"block_topk"}
    choose(page, "context", "32k")
    assert len(visible_rows(page)) == 2
    choose(page, "operation", "all")
    choose(page, "context", "all")
    page.find_element(By.CSS_SELECTOR, ".dt-search input").send_keys("GPU")
    wait(page, "return document.querySelector('.dt-info').textContent.includes('filtered')")
    assert {cells[0] for cells in visible_rows(page)} == {"B Made GPU"}


def test_a_heading_sorts_by_value_and_not_by_text(page):
    index = column(page, "median")
    heading = page.find_elements(By.CSS_SELECTOR, "#table thead th")[index]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", heading)
    heading.click()
    units = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}

    def seconds():
        shown = [cells[index].split(" ") for cells in visible_rows(page)]
        return [float(number) * units[unit] for number, unit in shown]

    WebDriverWait(page, 20).until(lambda _: seconds() == sorted(seconds()))
    assert min(seconds()) == pytest.approx(1.06e-5, rel=0.05)
    page.find_elements(By.CSS_SELECTOR, "#table thead th")[index].click()
    WebDriverWait(page, 20).until(lambda _: seconds() == sorted(seconds(), reverse=True))
    assert max(seconds()) == pytest.approx(3.4e-2, rel=0.05)


def test_the_chooser_shows_another_map(page):
    draw_everything(page)
    chooser = Select(page.find_element(By.CSS_SELECTOR, '[data-chooser="speedup"]'))
    assert len(chooser.options) == 2
    chooser.select_by_index(1)
    wait(page, "return document.querySelector('[data-figure=speedup]').dataset.shown === '1'")
    place = page.find_element(By.CSS_SELECTOR, '[data-figure="speedup"]')
    assert num_pixels(page, place) > 500


def test_the_button_switches_between_light_and_dark_figures_included(page):
    draw_everything(page)

    def look():
        return page.execute_script(
            """const models = [...Bokeh.documents[0].all_models];
            const axis = models.find((model) => "axis_label_text_color" in model.properties);
            return [getComputedStyle(document.body).backgroundColor, axis.axis_label_text_color];"""
        )

    before = look()
    page.execute_script('document.getElementById("theme").click()')
    after = look()
    assert before[0] != after[0]
    assert before[1] != after[1]
    page.execute_script('document.getElementById("theme").click()')
    assert look() == before


def test_a_hover_label_shows_hostile_names_as_text(page):
    draw_everything(page)
    place = page.find_element(By.CSS_SELECTOR, '[data-figure="roofline"]')
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
    x, y = page.execute_script(
        """const hostile = (mark) => (mark.data_source.data.provider ?? []).findIndex((name) => name.includes("<img"));
        const figures = Bokeh.documents.flatMap((one) => one.roots()).filter((one) => one.renderers);
        const figure = figures.find((one) => one.renderers.some((mark) => hostile(mark) >= 0));
        const mark = figure.renderers.find((one) => hostile(one) >= 0);
        const view = Bokeh.index.get_one(figure);
        const at = (scale, name) => scale.compute(mark.data_source.data[name][hostile(mark)]);
        const box = view.el.getBoundingClientRect();
        return [box.left + at(view.frame.x_scale, "x"), box.top + at(view.frame.y_scale, "y")];"""
    )
    ActionChains(page).move_by_offset(round(x), round(y)).perform()
    ActionChains(page).move_by_offset(1, 0).perform()
    text = wait(
        page,
        """const texts = [];
        const visit = (node) => {
          if (node.tagName === "IMG") throw new Error("a name became an image");
          if (node.classList?.contains("bk-tooltip-row-value")) texts.push(node.textContent);
          for (const child of node.children) visit(child);
          if (node.shadowRoot) visit(node.shadowRoot);
        };
        visit(document.body);
        return texts.length ? texts.join(" ") : null;""",
    )
    assert "<img" in text


def test_the_theme_follows_the_system(page):
    def background():
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    found = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        found[scheme] = background()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found["light"] == "rgb(255, 255, 255)"
    assert found["dark"] != found["light"]
