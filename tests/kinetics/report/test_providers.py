"""Providers side by side: like with like, ours first, disturbed rows nowhere."""

import pytest

from kinetics.report.providers import contests, draw_series, provider_series
from kinetics.report.sources import read_sources

CONTEXTS = (1024, 4096)
SPREAD = [1e-3 * (1 + (i - 4) / 100) for i in range(9)]


def files_of(result, rows):
    return read_sources([result("a.json", rows)], baseline=None).files


def rows_by(row, providers, **fields):
    return [
        row(provider=name, context_len=c, samples=[factor * s for s in SPREAD], **fields)
        for name, factor in providers.items()
        for c in CONTEXTS
    ]


def test_ours_comes_first_and_others_are_held_against_it(result, row):
    (series,) = provider_series(files_of(result, rows_by(row, {"quick": 0.5, "ours": 1.0, "slow": 2.0})))
    assert next(iter(series.rows)) == series.reference == "ours"
    times, ratios = draw_series(series).figures
    marks = {one.name: one.data_source.data for one in ratios.renderers}
    assert marks["quick"]["y"] == pytest.approx([0.5, 0.5])
    assert marks["slow"]["x"] == list(CONTEXTS)
    assert all(low < 2.0 < high for low, high in zip(marks["slow"]["low"], marks["slow"]["high"], strict=True))
    assert "ours" not in marks
    assert {one.name: one.data_source.data for one in times.renderers}["ours"]["y"] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    "fields", [{"dtype": "bfloat16"}, {"batch": 8}, {"cache_state": "warm"}, {"graph": True, "kv_layout": "nhd"}]
)
def test_rows_that_ran_otherwise_are_another_series(result, row, fields):
    rows = rows_by(row, {"ours": 1.0}) + rows_by(row, {"x": 1.0}, **fields)
    assert [list(series.rows) for series in provider_series(files_of(result, rows))] == [["ours"], ["x"]]


def test_disturbed_rows_are_left_out(result, row):
    rows = rows_by(row, {"ours": 1.0, "x": 2.0}) + rows_by(row, {"y": 0.1}, disturbed="a neighbour")
    (series,) = provider_series(files_of(result, rows))
    assert list(series.rows) == ["ours", "x"]


def test_a_cell_of_ours_meets_the_fastest_of_the_others_once(result, row):
    series = provider_series(files_of(result, rows_by(row, {"ours": 1.0, "x": 0.5, "y": 2.0})))
    met = contests(series)
    assert [(one.fastest_other.fields["provider"], one.num_others) for one in met] == [("x", 2)] * 2
    assert [one.ratio.ratio for one in met] == pytest.approx([2.0, 2.0])


def test_a_layout_of_the_engine_in_a_graph_is_a_line_of_its_own(result, row):
    rows = rows_by(row, {"ours": 1.0}, graph=True) + rows_by(row, {"ours": 2.0}, graph=True, kv_layout="nhd")
    (series,) = provider_series(files_of(result, rows))
    assert set(series.rows) == {"ours", "ours, hnd"}
