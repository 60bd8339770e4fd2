"""Files from strangers: whatever stands in them, the page is written whole or one line says why not."""

import json

from hypothesis import HealthCheck, Phase, given, settings

from kinetics.report.page import write_report
from kinetics.report.sources import read_sources
from tests.support.chromium import complaints, draw_everything, open_page
from tests.support.hostile_json import hostile_lines
from tests.support.result_rows import make_document, make_law, make_row

EVIL = "</script><img src=x onerror=\"document.title='taken'\"> ${1} {{ 7 * 7 }} \u2028"
CPU = {"kind": "cpu", "name": EVIL, "num_cpus": 2, "microarchitecture": EVIL, "total_memory_bytes": 2**40}


def rows(**fields):
    found = []
    for context_len in (1024, 4096):
        found += [make_row(**{"context_len": context_len, "provider": name, **fields}) for name in ("ours", "x")]
        found.append(make_row("block_topk", **{"context_len": context_len, "kv_budget": 512, **fields}))
    step = {"model": "Qwen3-0.6B", "num_layers": 2, "full_model_s": 1.0, "tokens_per_s": 1.0, **fields}
    return [*found, make_row("step_dense", **{"provider": "engine", **step})]


def write(folder, name, document):
    path = folder / name
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def page_of(folder, paths, baseline=None):
    out = folder / "report.html"
    write_report(read_sources(paths, baseline=baseline), out, title=EVIL, dollars_per_hour={"A": 1.0})
    return out.read_text(encoding="utf-8")


STRANGE = (
    {"context_len": 2**53 - 1, "batch": 2**53 - 1},
    {"samples": [1e-280] * 9},
    {"samples": [1e280] * 9},
    {"samples": [1e280] * 9, "predicted_s": 1e-308, "minimum_bytes": 1, "flop": 1},
    {"predicted_s": 0.0, "minimum_bytes": 0, "flop": 0},
    {"calibrated_s": 1e308, "calibration_role": "held_out"},
    {"model": None, "dtype": None, "cache_state": None, "graph": None, "provider": None, "page_size": None},
    {"kv_budget": 2**53 - 1, "page_size": 1},
    {"full_model_s": 1e-308, "tokens_per_s": 1e308},
    {"full_model_s": 1e308, "tokens_per_s": 1e-308},
    dict.fromkeys(("model", "provider", "dtype", "cache_state", "disturbed", "provider_version"), EVIL),
)
"""Fields of rows, one row of each operation each."""


def test_numbers_without_measure_and_missing_fields_leave_the_page_whole(tmp_path):
    made = []
    for number, fields in enumerate(STRANGE):
        common = {"context_len": 1024 * (number + 1), "provider": f"p{number % 3}", **fields}
        made += [make_row(**common), make_row("block_topk", **{"kv_budget": 512, **common})]
        made.append(make_row("step_dense", **{"num_layers": 1, "full_model_s": 1.0, "tokens_per_s": 1.0, **common}))
    old = write(tmp_path, "old.json", make_document(rows(), identity=CPU))
    new = write(tmp_path, "new.json", make_document([*rows(), *made], identity=CPU))
    sources = read_sources([new], baseline=old)
    assert len(sources.files[0].rows) >= len(rows()) + len(made) - 6, sources.files[0].left_out
    page = page_of(tmp_path, [new], baseline=old)
    assert page.rstrip().endswith("</html>")
    assert "<img src=x" not in page
    assert "49" not in page[page.index("<title>") : page.index("</title>")]


def test_times_at_both_ends_of_what_a_number_holds_can_be_compared(tmp_path):
    old = write(tmp_path, "old.json", make_document([make_row(samples=[1e280] * 9)], identity=CPU))
    new = write(
        tmp_path,
        "new.json",
        make_document([make_row(samples=[1e-280] * 9), make_row("block_topk", kv_budget=16)], identity=CPU),
    )
    assert "</html>" in page_of(tmp_path, [new], baseline=old)


def test_a_folder_of_files_with_and_without_an_identity_is_one_page(tmp_path):
    old = write(tmp_path, "old.json", make_document(rows(), device=EVIL))
    new = write(tmp_path, "new.json", make_document(rows(), identity=CPU))
    gpu = write(
        tmp_path, "gpu.json", make_document(rows(), identity={"kind": "cuda", "name": EVIL, "power_limit_w": 1})
    )
    published = write(tmp_path, "published.json", make_document(rows(), device="H200", origin="published"))
    page = page_of(tmp_path, [old, new, gpu, published], baseline=old)
    assert page.count('class="card"') == 4
    assert "<img src=x" not in page


def is_whole_or_one_line(folder, paths):
    """Whether the files make a whole page or are refused in one line; anything else that is raised is a fault."""
    try:
        return page_of(folder, paths).rstrip().endswith("</html>")
    except ValueError as error:
        return "\n" not in str(error).strip()


QUICK = settings(
    max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""Every example is a page: what is found is not made smaller."""


@QUICK
@given(hostile_lines([make_document(rows()[:3], identity={**CPU, "name": "Made CPU"})]))
def test_a_hostile_result_file_is_a_page_or_one_line(tmp_path, document):
    path = tmp_path / "hostile.json"
    path.write_bytes(document)
    assert is_whole_or_one_line(tmp_path, [path])


@QUICK
@given(hostile_lines([make_law()]))
def test_a_hostile_law_document_is_a_page_or_one_line(tmp_path, document):
    path = tmp_path / "law.json"
    path.write_bytes(document)
    assert is_whole_or_one_line(tmp_path, [write(tmp_path, "plain.json", make_document(rows()[:1])), path])


def test_a_browser_opens_the_page_of_hostile_files_and_runs_none_of_their_text(tmp_path, browser):
    evil = dict.fromkeys(("model", "provider", "dtype", "disturbed", "calibration_role"), EVIL)
    law = make_law(device=EVIL, source=EVIL, pricing=EVIL)
    law["tasks"][0]["frontiers"][0] |= {"attention": EVIL, "best_model": [EVIL, EVIL + "-2"]}
    quiet = {**evil, "disturbed": None, "samples": [1e280] * 9}
    old = write(tmp_path, "old.json", make_document(rows(**quiet), identity=CPU, grid=EVIL, started_utc=EVIL))
    new = make_document([*rows(**quiet), *rows(**evil, batch=7), *rows(context_len=2**53 - 1)][:12], identity=CPU)
    new["skipped"] = [{"name": EVIL, "reason": EVIL}]
    paths = [write(tmp_path, f"{name}.json", one) for name, one in (("new", new), ("law", law))]
    page_of(tmp_path, paths, baseline=old)
    open_page(browser, (tmp_path / "report.html").as_uri())
    draw_everything(browser)
    assert browser.title.split() == EVIL.split()
    assert browser.execute_script("return document.querySelectorAll('img, [onerror]').length") == 0
    assert complaints(browser) == []
    assert browser.execute_script("return document.scrollingElement.scrollWidth <= innerWidth")
