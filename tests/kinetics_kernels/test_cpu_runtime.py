"""What carries the CPU kernels: explicit vectors, threads, memory layouts, the compile cache."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch
from numba import njit

from kinetics_kernels import api, cpu_runtime
from kinetics_kernels.cpu_runtime import threads, tiles
from kinetics_kernels.cpu_runtime.page_attention import Arguments, State
from kinetics_kernels.cpu_runtime.simd import exp2, largest_of, load, store, sum_each, sum_of
from kinetics_kernels.shapes import DecodeShape, PagedCache, PageSelection, PageSummary, PageSummaryKind
from kinetics_kernels.testing import assert_dense_correct, assert_sparse_correct, make_inputs


@njit
def apply_exp2(x, out):
    store(out, np.uint64(0), exp2(load(x, np.uint64(0))))


@njit
def reduce(x):
    vector = load(x, np.uint64(0))
    return sum_of(vector), largest_of(vector)


@njit
def sum_rows(x, out):
    first, second = load(x, np.uint64(0)), load(x, np.uint64(8))
    third, fourth = load(x, np.uint64(16)), load(x, np.uint64(24))
    fifth, sixth = load(x, np.uint64(32)), load(x, np.uint64(40))
    seventh, eighth = load(x, np.uint64(48)), load(x, np.uint64(56))
    store(out, np.uint64(0), sum_each(first, second, third, fourth, fifth, sixth, seventh, eighth))


@njit
def score_two_heads(q, keys, head_dim, num_rows, logits):
    rows = tiles.eight_rows(0, head_dim, num_rows)
    first, second = tiles.dot_two_heads(q, np.uint64(head_dim), keys, rows, head_dim)
    store(logits, np.uint64(0), first)
    store(logits, np.uint64(8), second)


@njit
def add_to_two_heads(state, values, head_dim, num_rows):
    at, row = np.uint64(tiles.TILE_TOKENS), np.uint64(head_dim)
    tiles.add_two_heads(state, at, values, 0, head_dim, num_rows, head_dim, row)


@njit
def add_to_heads_one_by_one(state, values, head_dim, num_rows):
    for head in range(1, 3):
        at, row = np.uint64(head * tiles.TILE_TOKENS), np.uint64(head * head_dim)
        tiles.add_one_head(state, at, values, 0, head_dim, num_rows, head_dim, row)


def tiles_state(weights, accumulator):
    return State(logits=weights, running_max=weights, running_sum=weights, accumulator=accumulator)


def exp2_of(values):
    out = np.empty(8, np.float32)
    apply_exp2(np.asarray(values, dtype=np.float32), out)
    return out


def test_exp2_is_within_two_roundings_wherever_a_softmax_asks():
    x = -np.geomspace(1e-6, 125, 8000, dtype=np.float32)
    found = np.concatenate([exp2_of(eight) for eight in x.reshape(-1, 8)])
    expected = np.exp2(x.astype(np.float64))
    assert np.max(np.abs(found / expected - 1)) <= 2 * np.finfo(np.float32).eps


def test_exp2_keeps_nan_and_turns_minus_infinity_into_zero():
    found = exp2_of([np.nan, -np.inf, -127, -1e30, 0, 1, -1, -126])
    assert np.isnan(found[0])
    assert found[1:].tolist() == [0, 0, 0, 1, 2, 0.5, 2.0**-126]


def test_every_lane_counts_in_a_reduction():
    for lane in range(8):
        x = np.zeros(8, np.float32)
        x[lane] = 3
        assert reduce(x) == (3, 3)


def test_transposed_sums_land_in_the_lane_of_their_vector():
    x, out = np.arange(64, dtype=np.float32), np.empty(8, np.float32)
    sum_rows(x, out)
    assert out.tolist() == x.reshape(8, 8).sum(axis=1).tolist()


@pytest.mark.parametrize("strides", [(8, 4096), (4096, 8)], ids=["nhd", "hnd"])
@pytest.mark.parametrize("num_heads", [1, 2, 3, 8])
def test_what_is_prefetched_is_the_unit_whose_turn_comes_four_units_later(num_heads, strides):
    head_stride, slot_stride = strides
    starts = [1_000_000 * tile for tile in (7, 3, 5, 1, 2)]
    turns = [
        start + tiles.locate(unit, 2, num_heads, slot_stride, head_stride)[2]
        for start in starts
        for unit in range(2 * num_heads)
    ]
    near = tiles.tokens_to_near_tile(num_heads) // tiles.TILE_TOKENS
    asked = [
        tiles.locate_ahead(unit, (starts[near], starts[near + 1]), 2, num_heads, slot_stride, head_stride)
        for unit in range(2 * num_heads)
    ]
    assert asked == turns[4 : 4 + 2 * num_heads]
    assert len(set(turns)) == len(turns)


def test_all_of_a_unit_is_prefetched_whatever_the_group(monkeypatch):
    asked = []
    monkeypatch.setattr(tiles, "prefetch", lambda _cache, line: asked.append(line))
    for group_size in range(1, 17):
        asked.clear()
        for part in range(group_size + group_size % 2):
            tiles.prefetch_share.py_func(None, 5, 1000, 64, part, group_size)
        assert asked == [5 + token * 1000 + d for token in range(8) for d in (0, 16, 32, 48)]


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("num_rows", [1, 2, 7, 8])
def test_two_heads_at_once_give_what_each_gives_alone(head_dim, num_rows):
    generator = np.random.default_rng(0)
    q, keys, accumulator = (generator.standard_normal(n, dtype=np.float32) for n in (4 * 128, 8 * 128, 4 * 128))
    weights = generator.standard_normal(4 * tiles.TILE_TOKENS, dtype=np.float32)
    found, expected = accumulator.copy(), accumulator.copy()
    logits = np.empty(16, np.float32)
    score_two_heads(q, keys, head_dim, num_rows, logits)
    rows = keys[: num_rows * head_dim].reshape(num_rows, head_dim).astype(np.float64)
    queries = q[head_dim : 3 * head_dim].reshape(2, head_dim)
    np.testing.assert_allclose(logits.reshape(2, 8)[:, :num_rows], queries @ rows.T, rtol=1e-4, atol=1e-4)
    add_to_two_heads(tiles_state(weights, found), keys, head_dim, num_rows)
    add_to_heads_one_by_one(tiles_state(weights, expected), keys, head_dim, num_rows)
    assert np.array_equal(found, expected)
    by_hand = weights.reshape(4, -1)[1:3, :num_rows] @ rows
    changed = (found - accumulator)[head_dim : 3 * head_dim].reshape(2, head_dim)
    np.testing.assert_allclose(changed, by_hand, rtol=1e-4, atol=1e-4)
    assert np.array_equal(found[:head_dim], accumulator[:head_dim])
    assert np.array_equal(found[3 * head_dim :], accumulator[3 * head_dim :])


def long_inputs(layout="nhd"):
    shape = DecodeShape(batch=2, context_len=1000, num_q_heads=8, num_kv_heads=2, head_dim=64, page_size=16)
    return make_inputs(shape, dtype=torch.float32, device="cpu", seed=0, seq_lens=[1000, 613], layout=layout)


KEPT = PageSelection(num_pages=5, num_sink_pages=1, num_local_pages=1)


def test_python_threads_give_the_bits_that_torch_threads_give(monkeypatch):
    x = long_inputs()
    expected = api.paged_decode(x.q, x.cache, num_splits=7)
    monkeypatch.setattr(threads, "_pool", lambda: threads.run_on_python_threads)
    assert torch.equal(api.paged_decode(x.q, x.cache, num_splits=7), expected)


def test_long_work_runs_on_every_thread_and_short_work_on_the_caller_alone(monkeypatch):
    teams = []

    class Body:
        address = 0

        @staticmethod
        def ctypes(_arguments):
            teams.append(1)

    monkeypatch.setattr(threads, "_pool", lambda: lambda _address, _arguments, num_threads: teams.append(num_threads))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for num_elements in (1, 2 * threads.MIN_ELEMENTS_PER_THREAD, 100 * threads.MIN_ELEMENTS_PER_THREAD):
        threads.run_on_threads(Body, Arguments(), num_elements=num_elements)
    assert teams == [1, 2, 3]


class Pair(ctypes.Structure):
    """A record of two fields."""

    _fields_ = (("counter", ctypes.c_int64), ("size", ctypes.c_int64))


@pytest.mark.parametrize("fields", [{}, {"length": 1}, {"size": 1, "length": 1}])
def test_a_record_with_a_missing_or_unknown_field_is_not_made(fields):
    with pytest.raises(AssertionError, match="Pair"):
        threads.arguments_of(Pair, **fields)


def strided(tensor):
    """The same values, every other element in memory."""
    wide = tensor.new_zeros((*tensor.shape[:-1], 2 * tensor.shape[-1]))
    wide[..., ::2] = tensor
    return wide[..., ::2]


@pytest.mark.parametrize("kind", PageSummaryKind)
def test_tensors_strided_over_head_dim_are_read_and_written_like_any_other(kind):
    x = long_inputs()
    q, k_cache, v_cache = strided(x.q), strided(x.k_cache), strided(x.v_cache)
    table, seq_lens = x.block_table.T.contiguous().T, strided(x.seq_lens[None])[0]
    cache = PagedCache(k_cache=k_cache, v_cache=v_cache, block_table=table, seq_lens=seq_lens)
    assert_dense_correct(api.paged_decode(q, cache), x)
    summary = api.summarize_pages(cache, kind=kind)
    summary = PageSummary(kind=kind, values=strided(summary.values))
    k, v = strided(torch.randn(2, 2, 64)), strided(torch.randn(2, 2, 64))
    api.append_kv(k, v, cache, page_summary=summary)
    api.append_kv(k, v, x.cache)
    torch.testing.assert_close(k_cache, x.k_cache, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(v_cache, x.v_cache, rtol=0, atol=0, equal_nan=True)
    afresh = api.summarize_pages(x.cache, kind=kind)
    torch.testing.assert_close(summary.values, afresh.values, rtol=0, atol=0, equal_nan=True)
    pages = api.select_pages(api.score_pages(q, cache, summary), cache, selection=KEPT)
    assert_sparse_correct(api.sparse_paged_decode(q, cache, pages), x, pages)


def in_other_layout(cache):
    """The same values with slots and heads swapped in memory, and room left between pages."""
    pages, slots, heads, head_dim = cache.shape
    memory = cache.new_full((pages, heads + 1, slots, head_dim), float("nan"))
    memory[:, :heads] = cache.transpose(1, 2)
    return memory[:, :heads].transpose(1, 2)


def test_keys_and_values_may_lie_differently():
    x = long_inputs("nhd")
    q, v_cache = x.q, in_other_layout(x.v_cache)
    cache = replace(x.cache, v_cache=v_cache)
    assert_dense_correct(api.paged_decode(q, cache), x)
    summary = api.summarize_pages(cache, kind=PageSummaryKind.MEAN)
    pages = api.select_pages(api.score_pages(q, cache, summary), cache, selection=KEPT)
    assert_sparse_correct(api.sparse_paged_decode(q, cache, pages), x, pages)
    k, v = torch.randn(2, 2, 64), torch.randn(2, 2, 64)
    api.append_kv(k, v, cache)
    api.append_kv(k, v, x.cache, backend="reference")
    torch.testing.assert_close(v_cache, x.v_cache, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("layout", ["nhd", "hnd"])
@pytest.mark.parametrize("kind", PageSummaryKind)
def test_summaries_kept_up_token_by_token_are_bit_for_bit_those_made_at_once(layout, kind):
    x = long_inputs(layout)
    k_cache, v_cache = torch.full_like(x.k_cache, float("nan")), torch.full_like(x.v_cache, float("nan"))
    values = api.summarize_pages(x.cache, kind=kind).values
    summary = PageSummary(kind=kind, values=torch.full_like(values, float("nan")))
    for position in range(50):
        page, slot = x.block_table[:, position // 16].long(), position % 16
        lengths = torch.full_like(x.seq_lens, position + 1)
        new = (x.k_cache[page, slot], x.v_cache[page, slot])
        cache = PagedCache(k_cache=k_cache, v_cache=v_cache, block_table=x.block_table, seq_lens=lengths)
        api.append_kv(*new, cache, page_summary=summary)
        afresh = api.summarize_pages(cache, kind=kind)
        torch.testing.assert_close(summary.values, afresh.values, rtol=0, atol=0, equal_nan=True)


def test_nan_in_a_key_that_is_attended_reaches_the_output():
    x = long_inputs()
    x.k_cache[x.block_table[0, 3].long(), 2, 1, 0] = float("nan")
    out = api.paged_decode(x.q, x.cache)
    assert out[0, 4:].isnan().all()
    assert not out[0, :4].isnan().any()
    assert not out[1].isnan().any()


def test_equal_scores_of_either_sign_of_zero_and_infinite_scores_keep_forced_pages():
    x = long_inputs()
    scores = torch.zeros(2, 2, x.block_table.shape[1])
    scores[:, :, ::2] = -0.0
    scores[:, :, 5] = float("inf")
    scores[:, :, 7] = float("-inf")
    selection = PageSelection(num_pages=6, num_sink_pages=1, num_local_pages=1)
    pages = api.select_pages(scores, x.cache, selection=selection)
    for request, last in enumerate((62, 38)):
        expected = x.block_table[request, torch.tensor([0, 1, 2, 5, last - 1, last])]
        assert torch.equal(pages[request], expected.expand(2, -1))


def test_code_is_cached_in_a_folder_that_is_named_after_the_sources(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cpu_runtime.cache_folder()
    assert folder.is_relative_to(tmp_path)
    assert folder == cpu_runtime.cache_folder()


def test_code_is_cached_for_the_process_alone_where_there_is_no_home(monkeypatch, tmp_path):
    blocked = tmp_path / "a_file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    folder = cpu_runtime.cache_folder()
    assert folder.is_dir()
    assert folder != cpu_runtime.cache_folder()


def test_the_sparse_path_gives_the_same_bits_every_time():
    x = long_inputs()
    summary = api.summarize_pages(x.cache, kind=PageSummaryKind.MIN_MAX)
    selection = PageSelection(num_pages=9, num_sink_pages=1, num_local_pages=1)
    first = api.block_topk_decode(x.q, x.cache, summary, selection=selection, num_splits=3)
    for _ in range(5):
        assert torch.equal(api.block_topk_decode(x.q, x.cache, summary, selection=selection, num_splits=3), first)
