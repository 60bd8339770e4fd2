"""Append, page summaries, scores and selection on the gpu backend, every branch, against the reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from kinetics_kernels import api
from kinetics_kernels.block_topk import reference as block_topk_reference
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummary, PageSummaryKind
from kinetics_kernels.testing import DecodeInputs, assert_within_error_budget, make_inputs
from tests.support.kernel_setting import (
    DEVICE,
    DTYPES,
    real_shapes_only_on_a_device,
    skip_module_unless_kernels_run,
    tables_alone,
)

skip_module_unless_kernels_run()

from kinetics_kernels.block_topk.gpu_select import select_pages  # noqa: E402 - after the skip: triton may be missing
from kinetics_kernels.kv_cache import gpu as kv_cache  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.kernel]
DTYPE_CASES = pytest.mark.parametrize("dtype", DTYPES, ids=str)
KINDS = pytest.mark.parametrize("kind", list(PageSummaryKind), ids=lambda kind: kind.value)


def inputs_for(
    lengths: list[int], dtype: torch.dtype, *, group: int = 4, heads: int = 1, page: int = 16, **more: Any
) -> DecodeInputs:
    shape = DecodeShape(
        batch=len(lengths),
        context_len=max(lengths),
        num_q_heads=group * heads,
        num_kv_heads=heads,
        head_dim=64,
        page_size=page,
    )
    return make_inputs(shape, dtype=dtype, device=DEVICE, seed=2, seq_lens=lengths, **more)


def summarize(inputs: DecodeInputs, kind: PageSummaryKind, *, backend: str = "gpu") -> PageSummary:
    return api.summarize_pages(inputs.cache, kind=kind, backend=backend)


def summarize_in_double(inputs: DecodeInputs, kind: PageSummaryKind) -> torch.Tensor:
    doubled = replace(inputs.cache, k_cache=inputs.k_cache.double(), v_cache=inputs.v_cache.double())
    return api.summarize_pages(doubled, kind=kind, backend="reference").values


@KINDS
@DTYPE_CASES
@pytest.mark.parametrize(
    ("lengths", "page"),
    [([1], 16), ([15, 16, 17], 16), ([63, 65], 64), ([257], 256), *real_shapes_only_on_a_device(([9000, 4096], 128))],
)
def test_summaries_hold_the_keys_present_and_leave_other_pages_alone(
    lengths: list[int], page: int, kind: PageSummaryKind, dtype: torch.dtype
) -> None:
    inputs = inputs_for(lengths, dtype, heads=2, page=page)
    values = summarize(inputs, kind).values
    reference = summarize(inputs, kind, backend="reference").values
    oracle = summarize_in_double(inputs, kind)
    written = ~oracle.isnan()
    assert torch.equal(values.isnan(), oracle.isnan())
    assert_within_error_budget(
        values[written], oracle=oracle[written], low_precision=reference[written], subject="summary"
    )


@KINDS
@DTYPE_CASES
@pytest.mark.parametrize("layout", ["nhd", "hnd"])
@pytest.mark.parametrize("lengths", [[1, 16], [17, 31]])
def test_append_writes_one_slot_and_keeps_the_summary_exact(
    lengths: list[int], layout: str, kind: PageSummaryKind, dtype: torch.dtype
) -> None:
    inputs = inputs_for(lengths, dtype, heads=2, layout=layout)
    summary = summarize(inputs, kind)
    expected_k, expected_v = inputs.k_cache.clone(), inputs.v_cache.clone()
    k, v = torch.randn(2, 2, 64, device=DEVICE).to(dtype), torch.randn(2, 2, 64, device=DEVICE).to(dtype)
    for request, length in enumerate(lengths):
        page = inputs.block_table[request, (length - 1) // 16]
        expected_k[page, (length - 1) % 16], expected_v[page, (length - 1) % 16] = k[request], v[request]
    api.append_kv(k, v, inputs.cache, page_summary=summary, backend="gpu")
    assert torch.equal(inputs.k_cache.nan_to_num(), expected_k.nan_to_num())
    assert torch.equal(inputs.v_cache.nan_to_num(), expected_v.nan_to_num())
    oracle = summarize_in_double(inputs, kind)
    reference = summarize(inputs, kind, backend="reference")
    assert_within_error_budget(
        summary.values.nan_to_num(),
        oracle=oracle.nan_to_num(),
        low_precision=reference.values.nan_to_num(),
        subject="summary",
    )


@DTYPE_CASES
def test_append_without_a_summary_and_of_a_padded_row(dtype: torch.dtype) -> None:
    inputs = inputs_for([20, 9], dtype)
    k = torch.ones(2, 1, 64, dtype=dtype, device=DEVICE)
    seq_lens = torch.tensor([20, 0], dtype=torch.int32, device=DEVICE)
    before = inputs.k_cache.clone()
    kv_cache.append_kv(k, k, replace(inputs.cache, seq_lens=seq_lens), page_summary=None)
    changed = (inputs.k_cache.nan_to_num() != before.nan_to_num()).any(dim=-1).nonzero().tolist()
    assert changed == [[int(inputs.block_table[0, 1]), 3, 0]]


@KINDS
@DTYPE_CASES
@pytest.mark.parametrize("group", [1, 3, 5, 16])
def test_scores_are_within_the_error_budget_and_absent_pages_lose(
    group: int, kind: PageSummaryKind, dtype: torch.dtype
) -> None:
    inputs = inputs_for([40 * 16 + 1, 16, 1], dtype, group=group, heads=2, table_width=45)
    summary = summarize(inputs, kind)
    scores = api.score_pages(inputs.q, inputs.cache, summary, backend="gpu")
    oracle, single = (reference_scores(inputs, summary, data_type) for data_type in (torch.float64, torch.float32))
    absent = oracle == float("-inf")
    assert torch.equal(scores == float("-inf"), absent)
    assert_within_error_budget(scores[~absent], oracle=oracle[~absent], low_precision=single[~absent], subject="scores")


def reference_scores(inputs: DecodeInputs, summary: PageSummary, dtype: torch.dtype) -> torch.Tensor:
    shape = (inputs.shape.batch, inputs.shape.num_kv_heads, inputs.block_table.shape[1])
    scores = torch.empty(shape, dtype=dtype, device=DEVICE)
    values = PageSummary(kind=summary.kind, values=summary.values.to(dtype))
    block_topk_reference.score_pages(inputs.q.to(dtype), inputs.cache, values, scores=scores)
    return scores


def check_selection(
    scores: torch.Tensor, num_pages: list[int], *, kept: int, sink: int = 1, local: int = 1, **options: int
) -> None:
    """The gpu backend and the reference keep the same pages, in an output that starts as garbage."""
    batch, heads, width = scores.shape
    generator = torch.Generator().manual_seed(5)
    block_table = torch.randperm(batch * width, generator=generator).int().view(batch, width).to(DEVICE)
    seq_lens = torch.tensor([16 * pages - 3 for pages in num_pages], dtype=torch.int32, device=DEVICE)
    made = torch.full((batch, heads, kept), -7, dtype=torch.int32, device=DEVICE)
    expected = made.clone()
    arguments = (scores.to(DEVICE), tables_alone(block_table, seq_lens))
    selection = PageSelection(num_pages=kept, num_sink_pages=sink, num_local_pages=local)
    select_pages(*arguments, selection=selection, page_indices=made, **options)
    block_topk_reference.select_pages(*arguments, selection=selection, page_indices=expected)
    assert torch.equal(made, expected)


@pytest.mark.parametrize("kept", [2, 3, 7, 64, 100, 256, 300])
def test_any_number_of_pages_is_selected_exactly(kept: int) -> None:
    scores = torch.randn(2, 2, 257, generator=torch.Generator().manual_seed(kept))
    check_selection(scores, [257, 100], kept=kept, sink=1, local=0)


@pytest.mark.parametrize(("sink", "local"), [(0, 0), (3, 0), (0, 4), (2, 3)])
@pytest.mark.parametrize("num_pages", [1, 2, 6, 40])
def test_forced_pages_are_kept_whatever_their_score(num_pages: int, sink: int, local: int) -> None:
    scores = torch.arange(40, dtype=torch.float32).sub(20).abs().neg().view(1, 1, 40)
    check_selection(scores, [num_pages], kept=8, sink=sink, local=local)


def test_ties_go_to_the_lowest_page_and_both_zeros_tie() -> None:
    scores = torch.randn(1, 3, 200, generator=torch.Generator().manual_seed(0)).mul(2).round()
    scores[0, 1] = 0.0
    scores[0, 1, ::2] = -0.0
    scores[0, 2] = float("-inf")
    check_selection(scores, [200], kept=23)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1.0, 1e30])
def test_scores_of_any_magnitude_keep_their_order(scale: float) -> None:
    scores = torch.randn(1, 1, 300, generator=torch.Generator().manual_seed(1)) * scale
    check_selection(scores, [300], kept=40)


@pytest.mark.parametrize("kept", [5, 64, 100])
@pytest.mark.parametrize("num_pages", [65, 200, 300])
def test_a_row_too_long_for_registers_is_selected_in_two_levels(num_pages: int, kept: int) -> None:
    scores = torch.randn(1, 2, 300, generator=torch.Generator().manual_seed(kept)).mul(3).round()
    check_selection(scores, [num_pages], kept=kept, sink=2, local=2, max_register_pages=64)


@pytest.mark.parametrize("num_pages", [8192, 8193])
def test_the_longest_row_in_registers_and_one_beyond(num_pages: int) -> None:
    check_selection(torch.randn(1, 1, num_pages, generator=torch.Generator().manual_seed(2)), [num_pages], kept=64)
