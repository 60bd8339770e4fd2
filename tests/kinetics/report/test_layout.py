"""How the page looks in Chromium: nothing leaves the page, overlaps or hides at any width, in print, in the dark."""

import json
import os
import time
from pathlib import Path

import pytest

from kinetics.report.page import write_report
from kinetics.report.sources import read_sources
from tests.support.chromium import complaints, draw_everything, open_page, set_media, set_width, wait

AXE = "KINETICS_AXE"
CONTEXTS = [1024 * 2**i for i in range(6)]
CPU = {
    "kind": "cpu", "name": "AMD EPYC 9B14 96-Core Processor", "vendor": "AuthenticAMD", "family": 25,
    "microarchitecture": "zen4", "num_cpus": 4, "num_cores": 2, "cpu_quota": 3.5, "num_threads": 4,
    "total_memory_bytes": 32 * 2**30, "l3_bytes": 2**25, "is_virtual": True,
}  # fmt: skip


def times(seconds):
    return [seconds * (1 + i / 90) for i in range(9)]


def step(row, operation, seconds, **fields):
    return row(
        operation, provider="engine", model="Qwen3-0.6B", num_layers=28, full_model_s=seconds, tokens_per_s=1 / seconds,
        full_model_is_extrapolated=False, samples=times(seconds), **fields,
    )  # fmt: skip


def rows_of(row, factor):
    """Dense by two providers, sparse by one, the parts of a search, steps; some held out, one disturbed."""
    rows = []
    for batch in (1, 4):
        for c in CONTEXTS:
            fields = {"batch": batch, "context_len": c, "calibration_role": "held_out", "calibrated_s": c * 1.1e-6}
            rows += [row(samples=times(factor * batch * c * 1e-6), **fields)]
            rows += [row(provider="torch_sdpa", samples=times(1.7 * batch * c * 1e-6), **fields)]
            rows += [row("block_topk", kv_budget=512, samples=times(factor * batch * 2e-3), **fields)]
    rows += [row("select", kv_budget=512, flop=0), step(row, "step_dense", 0.5)]
    rows += [step(row, "step_block_topk", 0.3, kv_budget=512)]
    return [*rows, row(batch=16, disturbed="other programs took 40 % of the CPUs", others_cpu_share=0.4)]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with something in every panel."""
    from tests.support.result_rows import make_document, make_law, make_row

    folder = tmp_path_factory.mktemp("layout")

    def write(name, document):
        (folder / name).write_text(json.dumps(document))
        return folder / name

    law = make_law()
    models = ["Qwen3-0.6B", "Qwen3-4B", "Qwen3-8B", "Qwen3-14B", "Qwen3-32B"]
    for attention, unit in (("dense", 0.1), ("topk", 0.02)):
        line = {"attention": attention, "best_model": models, "cost_tera_eflop": [1, 2, 3, 4, 5]}
        line |= {"seconds": [unit * 3**i for i in range(5)], "accuracy": [0.05, 0.3, 0.4, 0.6, 0.7]}
        law["tasks"][0]["frontiers"] = [*law["tasks"][0]["frontiers"], line] if attention == "topk" else [line]
    skipped = [{"name": "dense-x", "reason": "needs 80.0 GiB, free 20.1 GiB x 0.90, and a long reason " * 3}]
    old = write("old.json", make_document(rows_of(make_row, 1.0), identity=CPU))
    new = write("new.json", make_document(rows_of(make_row, 1.4), identity=CPU, skipped=skipped))
    other = CPU | {"microarchitecture": "zen5", "family": 26}
    paths = [new, write("zen5.json", make_document(rows_of(make_row, 0.6), identity=other)), write("law.json", law)]
    out = folder / "report.html"
    write_report(read_sources(paths, baseline=old), out, title="Decode attention", dollars_per_hour={"A": 1.2})
    return out


@pytest.fixture(scope="module")
def opened(report, browser):
    set_width(browser, 1280)
    open_page(browser, report.as_uri())
    draw_everything(browser)
    yield browser
    set_media(browser)
    set_width(browser, 0)


@pytest.fixture
def page(opened):
    """The page, at 1280 px, on a light screen, unscrolled."""
    set_media(opened, scheme="light")
    set_width(opened, 1280)
    opened.execute_script(
        "window.scrollTo(0, 0); document.querySelectorAll('.scroll').forEach((one) => one.scrollTo(0, 0))"
    )
    return opened


def settled(browser, script):
    """Give figures, which follow their frame a moment later, up to five seconds to leave nothing to complain of."""
    for _ in range(25):
        if not browser.execute_script(script):
            return
        time.sleep(0.2)


_TOO_WIDE = """
const limit = document.documentElement.clientWidth + 0.5;
const isScrolled = (element) => element.closest(".scroll, nav, .hidden, .skip");
return [...document.querySelectorAll("body *")]
  .filter((one) => !isScrolled(one) && one.getBoundingClientRect().width > 0)
  .filter((one) => one.getBoundingClientRect().right > limit || one.getBoundingClientRect().left < 0)
  .map((one) => `${one.tagName}.${one.className}: ${one.textContent.slice(0, 40)}`);
"""


@pytest.mark.parametrize("width", [1280, 768, 500, 360])
def test_nothing_runs_out_of_the_page(page, width):
    set_width(page, width)
    wait(page, "return document.documentElement.clientWidth <= arguments[0]", width)
    settled(page, _TOO_WIDE)
    assert page.execute_script(_TOO_WIDE) == []
    assert page.execute_script("return document.scrollingElement.scrollWidth <= document.documentElement.clientWidth")


_OVERLAPS = """
const leaves = [...document.querySelectorAll(
  "h1, h2, h3, p, dt, dd, label, summary, .legend button, figure > div, .chart, .badge, #theme, li, table.plain td")];
const shown = leaves.filter((one) => one.checkVisibility() && !one.closest("nav, .skip"));
const boxes = shown.map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => box.width && box.height);
const found = [];
boxes.forEach(([one, a], index) => {
  for (const [other, b] of boxes.slice(index + 1)) {
    if (one.contains(other) || other.contains(one)) continue;
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    const isSticky = one.closest(".scroll") && one.closest(".scroll") === other.closest(".scroll");
    if (across > 1 && down > 1 && !isSticky) {
      found.push(`${one.textContent.slice(0, 30)} | ${other.textContent.slice(0, 30)}`);
    }
  }
});
return found;
"""


@pytest.mark.parametrize("width", [1280, 500])
def test_nothing_overlaps(page, width):
    set_width(page, width)
    settled(page, _OVERLAPS)
    assert page.execute_script(_OVERLAPS) == []


def test_the_conclusion_and_its_number_stand_on_the_first_screen(page):
    for width in (1280, 500):
        set_width(page, width)
        page.execute_script("window.scrollTo(0, 0)")
        box = page.execute_script("return document.querySelector('.key-number').getBoundingClientRect().toJSON()")
        assert 0 < box["top"] < box["bottom"] < 400
    assert page.execute_script("return document.querySelectorAll('.sentence').length") == 3


_REGION = "document.querySelector('.scroll[aria-label=\"All rows\"]')"


def test_a_wide_table_says_that_it_goes_on_and_keeps_its_first_column(page):
    set_width(page, 500)
    frame = f"{_REGION}.closest('.frame')"
    wait(page, f"return {frame}.hasAttribute('data-more-right')")
    assert not page.execute_script(f"return {frame}.hasAttribute('data-more-left')")
    shade = page.execute_script(f"return getComputedStyle({frame}, '::after').backgroundImage")
    assert "gradient" in shade
    page.execute_script(f"{_REGION}.scrollLeft = 300")
    wait(page, f"return {frame}.hasAttribute('data-more-left')")
    (first, width), (second, _), (region, region_width) = page.execute_script(
        f"""const cells = document.querySelectorAll("#table tbody tr:first-child td");
        return [cells[0], cells[1], {_REGION}].map((one) => one.getBoundingClientRect())
          .map((box) => [box.left, box.width]);"""
    )
    assert first == pytest.approx(region, abs=1)
    assert second < first + width - 100  # gone under the first column, which leaves most of the room to the others
    assert width < region_width / 2
    page.execute_script(f"{_REGION}.scrollLeft = 1e6")
    wait(page, f"return !{frame}.hasAttribute('data-more-right')")


def test_a_wide_table_is_reached_and_scrolled_by_keyboard(page):
    set_width(page, 500)
    regions = page.execute_script("return [...document.querySelectorAll('.scroll')].map((one) => one.tabIndex)")
    assert regions
    assert set(regions) == {0}


def test_paper_shows_everything_but_the_controls_and_is_not_cut_off(page):
    set_width(page, 720)
    set_media(page, media="print")
    gone = page.execute_script(
        "return ['nav', '#theme', '.filters'].map((one) => document.querySelector(one).checkVisibility())"
    )
    assert gone == [False] * 3
    cut = """const limit = document.documentElement.clientWidth + 1;
    return [...document.querySelectorAll("main *")].filter((one) => one.checkVisibility() && !one.closest("figure"))
      .filter((one) => one.getBoundingClientRect().right > limit).map((one) => one.outerHTML.slice(0, 80));"""
    assert page.execute_script(cut) == []


_FRAMES = """return [...document.querySelectorAll("figure > div")].map((one) => one.getBoundingClientRect())
  .map((box) => [box.width, box.right]);"""


def test_figures_shrink_onto_paper_whole_and_grow_again(page):
    before = page.execute_script(_FRAMES)
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    set_width(page, 718)
    set_media(page, media="print", scheme="dark")
    printed = page.execute_script(_FRAMES)
    inks = page.execute_script(_INKS)
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    set_media(page, scheme="light")
    set_width(page, 1280)
    wait(page, f"return (() => {{ {_FRAMES} }})()[0][0] > 500")
    assert max(right for _, right in printed) <= 718
    ratios = {round(one[0] / other[0], 2) for one, other in zip(printed, before, strict=True)}
    assert len(ratios) == 1  # all of a figure, smaller
    assert 0.5 < ratios.pop() < 0.7
    assert len(inks) == 1  # what is on the canvas is what it was drawn with
    assert page.execute_script(_FRAMES) == [pytest.approx(pair, abs=2) for pair in before]


_INKS = """const labels = Bokeh.documents.flatMap((one) => [...one.all_models])
  .filter((one) => "major_label_text_color" in one.properties).map((one) => one.major_label_text_color);
return [...new Set(labels)];"""


def test_the_dark_page_is_dark_and_its_figures_too(page):
    set_media(page, scheme="dark")
    paper = wait(page, "return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(20, 23, 27)"
    assert page.execute_script(_INKS) == ["#e4e8ec"]


def test_a_legend_hides_and_shows_the_marks_that_it_names(page):
    counts = """const marks = Bokeh.documents.flatMap((one) => [...one.all_models])
      .filter((one) => one.tags?.some((tag) => (tag.get ? tag.get("label") : tag.label) === "torch_sdpa"));
    return [marks.length, marks.filter((one) => one.visible).length];"""
    total, shown = page.execute_script(counts)
    assert total == shown == 6
    click = """[...document.querySelectorAll('[data-legend="providers"] button')]
      .find((one) => one.textContent === "torch_sdpa").click();"""
    page.execute_script(click)
    assert page.execute_script(counts) == [total, 0]
    page.execute_script(click)
    assert page.execute_script(counts) == [total, total]


@pytest.fixture(scope="module")
def axe():
    """The accessibility checker, where it was installed: npm install axe-core."""
    path = Path(os.environ.get(AXE, ""))
    if not path.is_file():
        pytest.skip(f"{AXE} names no axe.min.js; npm install axe-core somewhere, and name it")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 500])
def test_axe_finds_no_violation(page, axe, scheme, width):
    set_width(page, width)
    set_media(page, scheme=scheme)
    page.execute_script(axe)
    found = page.execute_async_script(
        """const done = arguments[arguments.length - 1];
        axe.run().then((found) => done([found.violations, found.passes.length]), (error) => done(String(error)));"""
    )
    violations, num_passes = found
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations] == []
    assert num_passes > 20


def test_the_page_draws_without_a_complaint(page):
    assert complaints(page) == []
