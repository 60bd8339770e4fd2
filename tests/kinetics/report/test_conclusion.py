"""The sentences on top: from the data alone, against the fastest dense decode, silent where nothing was measured."""

import json

import pytest

from kinetics.report.conclusion import MAX_SENTENCES, conclude, key_figure
from kinetics.report.key_chart import HEIGHT, WIDTH, key_chart
from kinetics.report.page import render_page
from kinetics.report.sources import read_sources

CONTEXTS = (1024, 4096, 16384)


def spread(seconds):
    return [seconds * (1 + (i - 4) / 1000) for i in range(9)]


def sparse_and_dense(row, *, dense=None, sparse_s=2e-3, contexts=CONTEXTS, **fields):
    """Dense time grows with context, a microsecond a token or by the provider's factor; sparse time does not."""
    found = [
        row(provider=name, context_len=c, samples=spread(c * 1e-6 * factor), **fields)
        for name, factor in (dense or {"ours": 1.0}).items()
        for c in contexts
    ]
    return found + [
        row("block_topk", context_len=c, kv_budget=512, samples=spread(sparse_s), **fields) for c in contexts
    ]


@pytest.fixture
def sources(result):
    def read(*groups, baseline=None, extra=()):
        paths = [result(f"{index}.json", rows) for index, rows in enumerate(groups)]
        return read_sources([*paths, *extra], baseline=baseline)

    return read


def test_the_key_figure_is_the_gain_at_the_longest_context_over_the_fastest_dense(sources, row):
    found = sources(sparse_and_dense(row, dense={"ours": 1.0, "quick": 0.5}))
    figure = key_figure(found.files)
    assert figure.last.context_len == 16384
    assert figure.last.gain.ratio == pytest.approx(0.5 * 16384e-6 / 2e-3)
    assert figure.last.dense.fields["provider"] == "quick"
    assert figure.number == "4.10x"
    (first, *_) = conclude(found).sentences
    assert "512 of 16k tokens is 4.10x as fast as the fastest dense one, quick (95 %: " in first
    assert "from 4000 tokens on" in first


def test_disturbed_and_warm_rows_take_no_part(sources, row):
    quiet = sparse_and_dense(row)
    worthless = [
        row("block_topk", context_len=65536, kv_budget=512, samples=spread(1e-9), disturbed="a neighbour"),
        row(context_len=65536, samples=spread(1.0)),
        row("block_topk", context_len=1024, kv_budget=512, samples=spread(1e-9), cache_state="warm"),
    ]
    found = sources(quiet + worthless)
    assert key_figure(found.files).last.context_len == 16384
    assert conclude(found).cautions == ("A: 1 of 9 rows were disturbed and are left out here.",)


def test_other_batches_and_element_types_are_not_the_cell(sources, row):
    rows = [row(samples=spread(1.0), batch=4), row(samples=spread(1.0), dtype="bfloat16")]
    rows.append(row("block_topk", kv_budget=512, samples=spread(1e-3)))
    assert key_figure(sources(rows).files) is None


def test_ours_is_counted_against_the_fastest_other_provider(sources, row):
    rows = []
    for context, mine in zip((*CONTEXTS, 65536), (0.5, 2.0, 1.0, 0.4), strict=True):
        rows += [row(provider="ours", context_len=context, samples=spread(mine * 1e-3))]
        rows += [row(provider=name, context_len=context, samples=spread(s)) for name, s in (("x", 1e-3), ("y", 9e-3))]
    (sentence,) = conclude(sources(rows)).sentences
    assert "the same 4 cells, ours is clearly faster than the fastest of them in 2, clearly slower in 1 and" in sentence
    assert "open in 1; its time is 0.75 of theirs at the median" in sentence


def test_there_are_never_more_than_three_sentences(sources, row, result, law):
    rows = sparse_and_dense(row, dense={"ours": 1.0, "x": 2.0}, calibration_role="held_out", calibrated_s=1e-3)
    conclusion = conclude(sources(rows, baseline=result("old.json", rows), extra=[law]))
    assert len(conclusion.sentences) == MAX_SENTENCES == 3
    assert "Against the baseline, old.json, 0 of 9 cells are slower and 0 faster" in conclusion.sentences[2]


def test_a_law_document_says_what_sparse_asks_for_dense_accuracy(result, row, made_law, tmp_path):
    document = made_law()
    dense = document["tasks"][0]["frontiers"][0]
    document["tasks"][0]["frontiers"].append(dense | {"attention": "topk", "seconds": [0.01, 0.05]})
    (tmp_path / "law.json").write_text(json.dumps(document))
    found = read_sources([result("a.json", [row()]), tmp_path / "law.json"], baseline=None)
    assert "On B200, topk attention answers 50 % of the questions right for 50 ms a question, dense for 200 ms." in (
        conclude(found).sentences
    )


def test_files_without_two_sides_say_that_there_is_nothing_to_conclude(sources, row):
    found = sources([row()])
    conclusion = conclude(found)
    assert conclusion.figure is None
    assert conclusion.sentences[0].startswith("Nothing to conclude yet")
    assert 'class="key"' not in render_page(found, title="t")


def test_the_chart_keeps_its_marks_within_the_drawing_and_rises_with_the_gain(sources, row):
    chart = key_chart(key_figure(sources(sparse_and_dense(row)).files))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in chart.marks)
    heights = [y for _, y in chart.marks]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] > chart.level > heights[-1]
    assert all(high <= low for _, low, high in chart.spans)
