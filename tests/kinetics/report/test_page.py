"""The page without a browser: complete, closed to the network, and deaf to what names in files would like it to do."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.report.heatmaps import NUMBER_HEIGHT, draw_map, map_panel, speedup_maps
from kinetics.report.page import page_panels, render_page, script_json
from kinetics.report.predictions import held_out_errors, measured_over_predicted
from kinetics.report.roofline import bandwidth, roofline
from kinetics.report.row_table import page_columns, row_values, shown_fields
from kinetics.report.sources import read_sources
from kinetics.report.style import diverging
from kinetics.specs.distribution import install_command

EVIL = "</script><img src=x onerror=alert(1)>"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def sparse_and_dense(row, *, contexts=(1024, 2048, 4096), **fields):
    """Dense time grows with context, sparse time does not: they cross at 2,000 tokens."""
    rows = [row(context_len=c, samples=[c * 1e-6] * 9, **fields) for c in contexts]
    return rows + [row("block_topk", context_len=c, kv_budget=512, samples=[2e-3] * 9, **fields) for c in contexts]


class Scripts(HTMLParser):
    """Collects tags as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_text_from_files_never_becomes_markup(result, row, made_law, tmp_path):
    rows = sparse_and_dense(row, provider=EVIL, model=EVIL, dtype=EVIL)
    rows.append(row(case=EVIL, batch=-1))
    path = result("a.json", rows, device=EVIL, grid=EVIL, skipped=[{"name": EVIL, "reason": EVIL}])
    hostile = made_law(device=EVIL, source=EVIL, pricing=EVIL)
    hostile["tasks"][0]["frontiers"][0]["best_model"] = [EVIL, EVIL]
    (tmp_path / "law.json").write_text(json.dumps(hostile))
    page = render_page(read_sources([path, tmp_path / "law.json"], baseline=path), title=EVIL)
    assert "<img" not in page.replace(_bokeh(), "").replace(_table_css(), "")
    assert EVIL not in page
    tags = Scripts(page).tags
    assert not [attrs for tag, attrs in tags if tag == "img"]
    num_panels = sum(
        len(group) for group in page_panels(read_sources([path, tmp_path / "law.json"], baseline=path)).values()
    )
    assert len([tag for tag, _ in tags if tag == "script"]) == 4 + num_panels
    assert not [name for _, attrs in tags for name in attrs if name.startswith("on")]


def test_json_in_a_script_says_the_same_and_holds_no_bracket():
    value = {"a": EVIL + "&\u2028\u2029", "b": [1.5, None, float("nan")]}
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": value["a"], "b": [1.5, None, None]}


def _bokeh():
    from bokeh.resources import Resources

    return Resources(mode="inline", components=["bokeh"]).js_raw[0]


def _table_css():
    from importlib.resources import files

    return (files("itables") / "html" / "dt_bundle.css").read_text(encoding="utf-8")


def test_nothing_on_the_page_points_elsewhere(result, row):
    page = render_page(read_sources([result("a.json", sparse_and_dense(row))], baseline=None), title="t")
    tags = Scripts(page).tags
    assert not [attrs for _, attrs in tags if "src" in attrs]
    assert not [tag for tag, _ in tags if tag in ("link", "iframe", "object", "base")]
    assert all(attrs["href"].startswith("#") for tag, attrs in tags if tag == "a")
    policy = next(attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "unsafe-eval" not in policy


@pytest.mark.parametrize(
    ("panel", "what"),
    [
        ("providers", "kinetics bench"),
        ("speedup", "kinetics bench test_decode_attention.py"),
        ("steps", "kinetics bench test_decode_step.py"),
        ("frontier", "kinetics law --json"),
        ("regression", "--baseline OLD.json"),
    ],
)
def test_a_panel_without_data_says_so_and_names_the_command(result, row, panel, what):
    page = render_page(read_sources([result("a.json", [row()])], baseline=None), title="t")
    section = re.search(rf'<section id="{panel}">(.*?)</section>', page, re.DOTALL)
    assert 'class="missing"' in section.group(1)
    assert what in section.group(1)
    assert f'data-figure="{panel}"' not in page


def test_panels_with_data_have_figures(result, row, law):
    rows = sparse_and_dense(row, calibration_role="held_out", calibrated_s=1e-3)
    path = result("a.json", rows)
    sources = read_sources([path, law], baseline=path)
    assert {name: [len(panel.figures) for panel in panels] for name, panels in page_panels(sources).items()} == {
        "providers": [2, 2],
        "roofline": [2],
        "speedup": [2],
        "prediction": [2],
        "frontier": [1],
    }
    sections = re.findall(r'<section id="(\w+)"(.*?)</section>', render_page(sources, title="t"), re.DOTALL)
    assert [name for name, text in sections if 'class="missing"' in text] == ["steps"]


def files_of(result, rows, **fields):
    return read_sources([result("a.json", rows, **fields)], baseline=None).files


def drawn(figure):
    """Columns of each mark of a figure, by its name."""
    return {one.name: one.data_source.data for one in figure.renderers}


def test_every_case_with_arithmetic_is_on_the_roofline_under_its_roof(result, row):
    rows = [row(context_len=c, samples=[c * 1e-6] * 9) for c in (1024, 4096)] + [row("select", kv_budget=256, flop=0)]
    marks = drawn(roofline(files_of(result, rows)))
    roof, dense = marks["roof of A Made CPU"], marks["A Made CPU: dense"]
    assert roof["y"] == pytest.approx([min(2e10 * x, 1e11) / 1e12 for x in roof["x"]])
    num_bytes = 2 * 8 * 128 * 4 * 1024
    assert dense["x"] == [2.0, 2.0]
    assert dense["y"] == pytest.approx([2 * num_bytes / 1024e-6 / 1e12] * 2)
    by_bytes = drawn(bandwidth(files_of(result, rows)))
    assert sum(len(columns["case"]) for columns in by_bytes.values() if "case" in columns) == 3


def test_the_map_shows_measured_and_predicted_ratios_and_where_they_cross(result, row):
    (one,) = speedup_maps(files_of(result, sparse_and_dense(row)))
    measured, predicted = (drawn(figure) for figure in draw_map(one))
    assert measured["cells"]["ratio"] == pytest.approx([0.512, 1.024, 2.048])
    assert predicted["cells"]["ratio"] == pytest.approx([2.0, 4.0, 8.0])
    assert measured["cells"]["speedup"] == ["0.51x", "1.02x", "2.05x"]
    assert measured["crossover"]["x"] == pytest.approx([math.log(2000 / 1024, 2)] * 2, rel=1e-3)
    assert measured["crossover"]["context_len"] == pytest.approx([2000] * 2, rel=1e-3)
    assert predicted["crossover"]["x"] == []


def test_strokes_of_the_break_even_leave_the_middle_of_a_row_to_its_numbers(result, row):
    rows = [one for batch in (1, 4) for one in sparse_and_dense(row, batch=batch)]
    (one,) = speedup_maps(files_of(result, rows))
    for figure in draw_map(one):
        marks = drawn(figure)
        for low, high in zip(marks["crossover"]["low"], marks["crossover"]["high"], strict=True):
            assert not [
                y
                for y in marks["cells"]["y"]
                if min(low, high) < y + NUMBER_HEIGHT / 2 - 1e-9 and max(low, high) > y - NUMBER_HEIGHT / 2 + 1e-9
            ]
    assert "batch 4: from 2000 tokens on" in map_panel(one).note


def test_a_legend_has_an_entry_for_every_mark_and_no_other(result, row, law):
    sources = read_sources([result("a.json", sparse_and_dense(row)), law], baseline=None)
    for panels in page_panels(sources).values():
        for panel in panels:
            said = {entry.label: entry for entry in panel.legend}
            tags = [tag for figure in panel.figures for mark in figure.renderers for tag in mark.tags]
            assert {tag["label"] for tag in tags} == set(said)
            for mark in (mark for figure in panel.figures for mark in figure.renderers):
                colors = [
                    getattr(mark.glyph, name) for name in ("line_color", "text_color") if hasattr(mark.glyph, name)
                ]
                assert not mark.tags or mark.glyph.tags or colors[0] in [said[tag["label"]].color for tag in mark.tags]


def test_colours_say_slower_equal_and_faster_on_one_scale(result, row):
    (one,) = speedup_maps(files_of(result, sparse_and_dense(row)))
    measured, predicted = (drawn(figure)["cells"]["color"] for figure in draw_map(one))
    scale = diverging()
    assert (scale[0], scale[50], scale[100]) == ("#B35806", "#F7F7F7", "#542788")
    assert scale.index(measured[0]) < 50 <= scale.index(measured[1]) < scale.index(measured[2])
    assert predicted[2] == scale[100]
    assert scale.index(measured[2]) == scale.index(predicted[0])


def test_cells_that_were_not_measured_stay_blank(result, row):
    rows = sparse_and_dense(row) + sparse_and_dense(row, batch=4, contexts=(4096,))
    (one,) = speedup_maps(files_of(result, rows))
    cells = drawn(draw_map(one)[0])["cells"]
    assert sorted(zip(cells["y"], cells["x"], strict=True)) == [(0, 0), (0, 1), (0, 2), (1, 2)]


def test_prediction_panels_count_held_out_rows_alone(result, row):
    rows = [
        row(context_len=1024 * (i + 1), calibration_role=role, calibrated_s=1e-3 * (1 + error))
        for i, (role, error) in enumerate([("fit", 0.9), ("held_out", 0.1), ("held_out", 0.3)])
    ]
    files = files_of(result, rows)
    points = drawn(measured_over_predicted(files))["A Made CPU: dense"]
    assert points["y"] == pytest.approx([1e-3 / (1024 * (i + 1) * 2 * 8 * 128 * 4 / 2e10) for i in range(3)])
    line = drawn(held_out_errors(files))["A Made CPU"]
    assert list(line["x"]) == pytest.approx([0, 10, 30])
    assert list(line["y"]) == pytest.approx([0, 50, 100])
    assert held_out_errors(files_of(result, [row()])) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, "law.json: schema must be 1, got 9; run kinetics law again"),
        ({"tasks": [{"task": "x"}]}, "law.json: law document cannot be used"),
        (
            {
                "tasks": [
                    {
                        "task": "x",
                        "frontiers": [
                            {
                                "attention": "dense",
                                "cost_tera_eflop": [1],
                                "seconds": [],
                                "accuracy": [],
                                "best_model": [],
                            }
                        ],
                    }
                ]
            },
            "lists of a frontier must be equally long",
        ),
        (
            {"tasks": [{"task": "x", "frontiers": [{"attention": "dense", "cost_tera_eflop": [10**400]}]}]},
            "law.json: law document cannot be used",
        ),
    ],
)
def test_a_law_document_that_cannot_be_used_is_one_line(tmp_path, result, row, made_law, change, message):
    path = tmp_path / "law.json"
    path.write_text(json.dumps(made_law(**change)))
    done = run("report", result("a.json", [row()]), path, "--out", tmp_path / "page.html")
    assert done.exit_code == 3
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_a_baseline_of_another_device_is_refused(tmp_path, result, row):
    other = result("gpu.json", [row()], device="Made GPU", slug="made-gpu")
    done = run("report", result("a.json", [row()]), "--baseline", other, "--out", tmp_path / "page.html")
    assert done.exit_code == 3
    assert "baseline must be of the device of another file, got Made GPU alone" in done.stderr


def test_a_baseline_on_another_design_under_one_name_is_refused(tmp_path, result, row):
    one, other = ({"kind": "cpu", "name": "Made CPU", "microarchitecture": design} for design in ("zen3", "zen5"))
    base = result("base.json", [row()], identity=other)
    done = run("report", result("a.json", [row()], identity=one), "--baseline", base, "--out", tmp_path / "page.html")
    assert done.exit_code == 3
    assert "baseline must be of the device of another file" in done.stderr


def test_a_file_that_shares_no_case_with_the_baseline_is_left_out_of_the_regressions(tmp_path, result, row):
    base, same, other = (
        result(f"{name}.json", [row(context_len=context_len)])
        for name, context_len in (("base", 1024), ("same", 1024), ("other", 2048))
    )
    done = run("report", same, other, "--baseline", base, "--out", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "B Made CPU: shares no case with the baseline" in page
    assert "A Made CPU: shares no case" not in page
    done = run("report", other, "--baseline", base, "--out", tmp_path / "page.html")
    assert done.exit_code == 3
    assert "baseline must share a case with another file of its device" in done.stderr


def test_the_table_shows_roles_and_joules_where_rows_have_them(result, row):
    plain = files_of(result, [row()])
    metered = files_of(result, [row(calibration_role="held_out", joules_per_token=0.25), row(context_len=2048)])
    titles = [[column["title"] for column in page_columns(shown_fields(files))] for files in (plain, metered)]
    assert not {"role", "mJ/token"} & set(titles[0])
    values = [dict(zip(titles[1], line, strict=True)) for line in row_values(metered, shown_fields(metered))]
    assert [(line["role"], line["mJ/token"]) for line in values] == [("held_out", 0.25), (None, None)]


def test_a_missing_library_is_named_with_its_remedy(tmp_path, result, row, monkeypatch):
    monkeypatch.setattr("kinetics.report.page.find_spec", lambda name: None if name == "itables" else name)
    done = run("report", result("a.json", [row()]), "--out", tmp_path / "page.html")
    remedy = install_command("report")
    assert (done.exit_code, done.stderr) == (2, f"kinetics: the report needs itables, not installed; {remedy}\n")


@pytest.mark.parametrize("price", ["free", "-1", "Z=2"])
def test_a_price_that_cannot_be_is_one_line_and_no_page(tmp_path, result, row, price):
    out = tmp_path / "page.html"
    done = run("report", result("a.json", [row()]), "--out", out, "--dollars-per-hour", price)
    assert done.exit_code == 2
    assert done.stderr.startswith("kinetics: --dollars-per-hour must ")
    assert done.stderr.count("\n") == 1
    assert not out.exists()


def test_the_command_writes_a_page_and_says_what_is_on_it(tmp_path, result, row, law):
    out = tmp_path / "folder" / "page.html"
    done = run("report", result("a.json", [row()]), law, "--out", out, "--json")
    assert json.loads(done.stdout) == {"out": str(out), "files": 2, "rows": 1}
    assert out.read_text().rstrip().endswith("</html>")
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]
