"""The reference and the CPU kernels against float64, over every shape the API admits, and the laws between them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics_kernels import api
from kinetics_kernels.cpu_runtime.page_attention_launch import pages_per_split
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummaryKind
from kinetics_kernels.testing import (
    assert_dense_correct,
    assert_sparse_correct,
    make_inputs,
    max_abs_error,
    reference_dense,
    reference_sparse,
)

BACKENDS = ["reference", "cpu"]


def inputs_of(seq_lens, *, group_size=4, num_kv_heads=2, head_dim=64, page_size=16, layout="nhd", seed=0, spare=0):
    shape = DecodeShape(
        batch=len(seq_lens),
        context_len=max(seq_lens),
        num_q_heads=group_size * num_kv_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        page_size=page_size,
    )
    width = shape.pages_per_request + spare
    return make_inputs(
        shape, dtype=torch.float32, device="cpu", seed=seed, seq_lens=seq_lens, layout=layout, table_width=width
    )


def dense(x, **options):
    return api.paged_decode(x.q, x.cache, **options)


def dense_with_lse(x, **options):
    return api.paged_decode_with_lse(x.q, x.cache, **options)


def summary(x, kind=PageSummaryKind.MEAN, **options):
    return api.summarize_pages(x.cache, kind=kind, **options)


def score(x, kind=PageSummaryKind.MEAN, **options):
    return api.score_pages(x.q, x.cache, summary(x, kind), **options)


def select(x, scores, num_pages, *, sink=1, local=1, backend="cpu"):
    selection = PageSelection(num_pages=num_pages, num_sink_pages=sink, num_local_pages=local)
    return api.select_pages(scores, x.cache, selection=selection, backend=backend)


def sparse(x, pages, **options):
    return api.sparse_paged_decode(x.q, x.cache, pages, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", ["nhd", "hnd"])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("group_size", [1, 2, 4, 5, 7, 8, 16])
def test_dense_decode_is_within_the_error_budget_for_every_group(backend, layout, head_dim, group_size):
    x = inputs_of([97, 1, 33], group_size=group_size, head_dim=head_dim, layout=layout, spare=3)
    out, lse = dense_with_lse(x, backend=backend)
    assert_dense_correct(out, x, lse=lse)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("page_size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_lengths_around_a_page_boundary_are_exact(backend, page_size, offset):
    x = inputs_of([2 * page_size + offset, page_size + offset, 1], page_size=page_size, group_size=5)
    out, lse = dense_with_lse(x, backend=backend)
    assert_dense_correct(out, x, lse=lse)
    pages = select(x, score(x), 2, sink=0, local=0, backend=backend)
    assert_sparse_correct(sparse(x, pages, backend=backend), x, pages)


@pytest.mark.parametrize("num_splits", [1, 2, 3, 7, 64])
def test_the_number_of_splits_never_changes_the_answer(num_splits):
    x = inputs_of([1000, 17, 1], num_kv_heads=3)
    out, lse = dense_with_lse(x, num_splits=num_splits, backend="cpu")
    assert_dense_correct(out, x, lse=lse)
    pages = select(x, score(x), 9)
    assert_sparse_correct(sparse(x, pages, num_splits=num_splits, backend="cpu"), x, pages)


def test_a_long_context_is_split_so_that_its_sums_keep_their_digits():
    x = inputs_of([65536], group_size=4, num_kv_heads=2, head_dim=128)
    oracle = reference_dense(x, dtype=torch.float64).out
    chosen, unsplit = (max_abs_error(dense(x, num_splits=n, backend="cpu"), oracle) for n in (0, 1))
    assert chosen < unsplit / 3
    assert pages_per_split(4096, 1000, page_size=16, num_splits=0) * 16 <= 512


def test_sums_over_a_selection_err_no_more_than_those_of_plain_torch():
    """The largest error of one input is luck, its mean over inputs is not."""
    errors = {"ours": 0.0, "torch": 0.0}
    for seed in range(8):
        x = inputs_of([4096, 4096], num_kv_heads=8, head_dim=128, layout="hnd", seed=seed)
        pages = select(x, score(x), 64)
        oracle, plain = (reference_sparse(x, pages, dtype=dtype).out for dtype in (torch.float64, torch.float32))
        errors["ours"] += max_abs_error(sparse(x, pages, backend="cpu"), oracle)
        errors["torch"] += max_abs_error(plain, oracle)
    assert errors["ours"] < 1.15 * errors["torch"]


@given(
    seq_lens=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    group_size=st.integers(1, 16),
    page_size=st.sampled_from([16, 32, 64]),
    layout=st.sampled_from(["nhd", "hnd"]),
    kept=st.integers(3, 20),
    seed=st.integers(0, 100),
)
@settings(max_examples=25)
def test_any_ragged_batch_is_within_the_error_budget(seq_lens, group_size, page_size, layout, kept, seed):
    x = inputs_of(seq_lens, group_size=group_size, page_size=page_size, layout=layout, seed=seed)
    assert_dense_correct(dense(x, backend="cpu"), x)
    pages = select(x, score(x), kept)
    assert_sparse_correct(sparse(x, pages, backend="cpu"), x, pages)


@pytest.mark.parametrize("backend", BACKENDS)
def test_selecting_every_page_equals_dense(backend):
    x = inputs_of([203, 50, 16], group_size=5)
    pages = select(x, score(x), 20, backend=backend)
    expected, expected_lse = dense_with_lse(x, backend=backend)
    out, lse = api.sparse_paged_decode_with_lse(x.q, x.cache, pages, backend=backend)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=1e-5)


def test_the_same_inputs_give_the_same_bits():
    x = inputs_of([3000, 1500, 700, 10], num_kv_heads=8)
    first = dense(x, num_splits=5)
    for _ in range(5):
        assert torch.equal(dense(x, num_splits=5), first)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_never_changes_the_answer(threads):
    x = inputs_of([2000, 300], num_kv_heads=8, head_dim=128)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert_dense_correct(dense(x, backend="cpu"), x)
    finally:
        torch.set_num_threads(before)


def test_every_element_of_a_given_output_is_written():
    x = inputs_of([70, 5])
    out = torch.full_like(x.q, float("nan"))
    assert dense(x, out=out) is out
    assert_dense_correct(out, x)


def test_an_output_with_odd_strides_is_written_in_place():
    x = inputs_of([70, 5])
    backing = torch.full((*x.q.shape[:2], 2 * x.q.shape[2]), float("nan"))
    out = backing[..., ::2]
    dense(x, out=out, backend="cpu")
    assert_dense_correct(out.contiguous(), x)
    assert backing[..., 1::2].isnan().all()


@pytest.mark.parametrize("kind", PageSummaryKind)
@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_follow_their_definition(kind, backend):
    x = inputs_of([100, 17, 1], group_size=5, spare=2)
    oracle = score(x, kind, backend="reference")
    found = score(x, kind, backend=backend)
    torch.testing.assert_close(found, oracle, rtol=1e-5, atol=1e-4)
    assert torch.isinf(found[1, :, 2:]).all()


def test_a_min_max_score_bounds_every_key_of_its_page():
    x = inputs_of([160], group_size=4)
    scores = score(x, PageSummaryKind.MIN_MAX)
    for head in range(2):
        group = x.q[0, 4 * head : 4 * head + 4]
        for logical in range(10):
            keys = x.k_cache[x.block_table[0, logical], :, head]
            largest = (group @ keys.T).amax(dim=1).mean()
            assert scores[0, head, logical] >= largest - 1e-4


@given(
    num_tokens=st.integers(1, 900),
    num_pages=st.integers(1, 70),
    sink=st.integers(0, 3),
    local=st.integers(0, 3),
    num_values=st.sampled_from([1, 2, 5, 1000]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150)
def test_selection_with_any_ties_equals_the_stable_sort(num_tokens, num_pages, sink, local, num_values, seed):
    num_pages = max(num_pages, sink + local + 1)
    x = inputs_of([num_tokens], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(num_values, (1, 2, x.block_table.shape[1]), generator=generator).float()
    expected = select(x, scores, num_pages, sink=sink, local=local, backend="reference")
    assert torch.equal(select(x, scores, num_pages, sink=sink, local=local, backend="cpu"), expected)


@pytest.mark.parametrize("kind", PageSummaryKind)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", ["nhd", "hnd"])
def test_appending_keeps_summaries_equal_to_the_keys_present_and_touches_nothing_else(kind, backend, layout):
    x = inputs_of([33, 1, 48], layout=layout, num_kv_heads=3)
    summaries = summary(x, kind)
    before, before_summaries = x.k_cache.clone(), summaries.values.clone()
    k, v = torch.randn(3, 3, 64), torch.randn(3, 3, 64)
    api.append_kv(k, v, x.cache, page_summary=summaries, backend=backend)
    expected = summary(x, kind, backend="reference")
    torch.testing.assert_close(summaries.values, expected.values, rtol=0, atol=1e-6, equal_nan=True)
    pages = torch.stack([x.block_table[0, 2], x.block_table[1, 0], x.block_table[2, 2]]).long()
    slots = torch.tensor([0, 0, 15])
    assert torch.equal(x.k_cache[pages, slots], k)
    assert torch.equal(x.v_cache[pages, slots], v)
    restored, restored_summaries = x.k_cache.clone(), summaries.values.clone()
    restored[pages, slots] = before[pages, slots]
    restored_summaries[pages] = before_summaries[pages]
    torch.testing.assert_close(restored, before, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(restored_summaries, before_summaries, rtol=0, atol=0, equal_nan=True)


def test_the_whole_sparse_path_is_its_three_parts():
    x = inputs_of([500, 90], num_kv_heads=4)
    selection = PageSelection(num_pages=6, num_sink_pages=1, num_local_pages=1)
    whole = api.block_topk_decode(x.q, x.cache, summary(x), selection=selection)
    assert torch.equal(whole, sparse(x, select(x, score(x), 6)))


def test_a_page_that_nobody_summarised_is_loud():
    x = inputs_of([500, 90], num_kv_heads=4)
    summaries = summary(x)
    summaries.values[x.block_table[0, 3]] = float("nan")
    selection = PageSelection(num_pages=6, num_sink_pages=1, num_local_pages=1)
    with pytest.raises(ValueError, match="scores must not hold NaN"):
        api.block_topk_decode(x.q, x.cache, summaries, selection=selection)


def spoil(x, **changes):
    q = changes.pop("q", x.q)
    return api.paged_decode(q, replace(x.cache, **changes))


def with_nan(q):
    q = q.clone()
    q[1, 2, 3] = float("nan")
    return q


def with_page(table, page):
    table = table.clone()
    table[0, 1] = page
    return table


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda x: {"q": with_nan(x.q)}, "q.*NaN"),
        (lambda x: {"block_table": with_page(x.block_table, 10_000)}, "10000"),
        (lambda x: {"block_table": with_page(x.block_table, -5)}, "-5"),
        (lambda x: {"seq_lens": x.seq_lens + 100_000}, "seq_lens"),
        (lambda x: {"seq_lens": x.seq_lens * 0}, "seq_lens"),
        (lambda x: {"seq_lens": x.seq_lens.long()}, "int32"),
        (lambda x: {"q": x.q.double()}, "float64"),
        (lambda x: {"q": x.q[:, :3]}, "num_kv_heads|divide|heads"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_before_any_memory_is_read(change, complaint):
    x = inputs_of([40, 20])
    with pytest.raises(ValueError, match=complaint) as refused:
        spoil(x, **change(x))
    assert "\n" not in str(refused.value)


def test_a_dtype_that_the_cpu_kernels_lack_names_the_reference_as_remedy():
    x = inputs_of([40, 20])
    with pytest.raises(ValueError, match=r"backend 'cpu' takes float32.*backend='reference'"):
        api.paged_decode(x.q.half(), replace(x.cache, k_cache=x.k_cache.half(), v_cache=x.v_cache.half()))


def test_a_page_list_that_does_not_end_in_the_current_page_is_refused():
    x = inputs_of([100, 100])
    pages = select(x, score(x), 4)
    pages[0, 0, 3] = -1
    with pytest.raises(ValueError, match="current page"):
        sparse(x, pages)
