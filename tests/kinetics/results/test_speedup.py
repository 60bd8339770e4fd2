"""Ratios pair rows of one cell; the crossover is where the ratio passes one."""

import pytest

from kinetics.results.speedup import crossover_context, crossovers, speedups, step_speedup, where_it_pays


def row(operation, context_len, median_s, **changes):
    fields = {
        "operation": operation, "provider": "ours", "model": "Qwen3-8B", "batch": 4, "context_len": context_len,
        "page_size": 16, "dtype": "float32", "cache_state": "cold", "graph": False, "median_s": median_s,
        "predicted_s": median_s / 2, "calibrated_s": None, "kv_budget": 1024 if operation == "block_topk" else None,
    }  # fmt: skip
    return fields | changes


def test_a_speedup_is_dense_over_sparse_in_the_same_cell():
    rows = [row("dense", 8192, 6.0), row("block_topk", 8192, 2.0), row("dense", 8192, 100.0, batch=1)]
    (pair,) = speedups(rows)
    assert (pair.measured, pair.predicted, pair.calibrated) == (3.0, 3.0, None)


@pytest.mark.parametrize(
    "field", ["provider", "model", "batch", "page_size", "dtype", "cache_state", "graph", "kv_layout"]
)
def test_rows_of_different_cells_are_never_divided(field):
    assert speedups([row("dense", 8192, 6.0, **{field: "other"}), row("block_topk", 8192, 2.0)]) == []


def test_the_crossover_lies_between_the_contexts_around_one():
    assert crossover_context([1024, 4096], [0.5, 2.0]) == pytest.approx(2048)
    assert crossover_context([4096, 1024, 16384], [1.0, 0.5, 4.0]) == pytest.approx(4096)


@pytest.mark.parametrize("ratios", [[0.2, 0.9], [1.1, 3.0]])
def test_a_crossover_outside_what_was_measured_is_unknown(ratios):
    assert crossover_context([1024, 4096], ratios) is None


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([0.5, 2.0], "from 2048 tokens on"),
        ([1.1, 3.0], "from the shortest context on, 1k"),
        ([0.2, 0.9], "nowhere up to 4k"),
        ([2.0, 0.5], "in the shorter contexts only"),
    ],
)
def test_where_sparse_attention_pays_is_said_in_words(ratios, words):
    assert where_it_pays([1024, 4096], ratios) == words


def test_a_later_context_in_which_it_does_not_pay_is_not_hidden():
    assert where_it_pays([1024, 4096, 8192], [0.5, 2.0, 0.9]) == "from 2048 tokens on, not everywhere beyond"


def test_lines_of_two_page_sizes_are_told_apart():
    rows = [
        row(operation, context_len, 1.0, page_size=page_size)
        for page_size in (16, 64)
        for context_len in (1024, 4096)
        for operation in ("dense", "block_topk")
    ]
    assert {one.page_size for one in crossovers(speedups(rows))} == {16, 64}


def test_each_batch_has_its_own_crossover():
    rows = [
        row(operation, context_len, time_s, batch=batch)
        for batch, factor in ((1, 1.0), (4, 1.5))
        for context_len, dense_s in ((1024, 0.5 * factor), (4096, 2.0 * factor))
        for operation, time_s in (("dense", dense_s), ("block_topk", 1.0))
    ]
    found = {one.batch: one.measured for one in crossovers(speedups(rows))}
    assert found == {1: pytest.approx(2048), 4: pytest.approx(1024 * 4 / 3)}


def test_a_step_is_compared_with_the_dense_one_of_as_many_layers():
    rows = [row("step_dense", 8192, 6.0, num_layers=2), row("step_dense", 8192, 90.0, num_layers=28)]
    sparse = row("step_block_topk", 8192, 30.0, num_layers=28)
    assert step_speedup(sparse, [*rows, sparse]) == 3.0
    assert step_speedup(sparse | {"context_len": 4096}, rows) is None
