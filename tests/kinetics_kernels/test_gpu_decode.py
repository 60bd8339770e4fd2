"""Dense and sparse split decode on the gpu backend: every branch against float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from kinetics_kernels import api
from kinetics_kernels.shapes import DecodeShape, PagedCache, PageSelection, PageSummaryKind, num_pages_for
from kinetics_kernels.testing import DecodeInputs, assert_dense_correct, assert_sparse_correct, make_inputs
from tests.support.kernel_setting import (
    DEVICE,
    DTYPES,
    IS_INTERPRETED,
    real_shapes_only_on_a_device,
    skip_module_unless_kernels_run,
)

skip_module_unless_kernels_run()

from kinetics_kernels.block_topk import gpu as block_topk  # noqa: E402 - after the skip: triton may be missing
from kinetics_kernels.dense import gpu as dense  # noqa: E402
from kinetics_kernels.gpu_runtime.configs import PLAIN, VARIANTS, DecodeConfig  # noqa: E402
from kinetics_kernels.gpu_runtime.paged_attention import PagedAttention, attend_as_planned, launch_merge  # noqa: E402
from kinetics_kernels.gpu_runtime.split_rule import MAX_SPLITS, SplitPlan  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.kernel, pytest.mark.parametrize("dtype", DTYPES, ids=str)]


def inputs_for(
    lengths: list[int],
    dtype: torch.dtype,
    *,
    group: int = 4,
    heads: int = 1,
    head_dim: int = 64,
    page: int = 16,
    **more: Any,
) -> DecodeInputs:
    shape = DecodeShape(
        batch=len(lengths),
        context_len=max(lengths),
        num_q_heads=group * heads,
        num_kv_heads=heads,
        head_dim=head_dim,
        page_size=page,
    )
    return make_inputs(shape, dtype=dtype, device=DEVICE, seed=1, seq_lens=lengths, **more)


def decode_dense(inputs: DecodeInputs, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Dense decode into an output full of NaN."""
    out = torch.full_like(inputs.q, float("nan"))
    return api.paged_decode_with_lse(inputs.q, inputs.cache, out=out, backend="gpu", **options)


def decode_sparse(inputs: DecodeInputs, pages: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    out = torch.full_like(inputs.q, float("nan"))
    return api.sparse_paged_decode_with_lse(inputs.q, inputs.cache, pages, out=out, backend="gpu", **options)


def attention_of(inputs: DecodeInputs) -> PagedAttention:
    return PagedAttention(
        q=inputs.q,
        cache=inputs.cache,
        page_table=inputs.block_table[:, None].expand(-1, inputs.shape.num_kv_heads, -1),
        softmax_scale=inputs.shape.head_dim**-0.5,
        is_page_list=False,
    )


@pytest.fixture
def poisoned_partials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partials start as NaN, so that a merge that reads one nobody wrote shows it."""
    original = torch.Tensor.new_empty

    def poisoned(self: torch.Tensor, shape: Any, **options: Any) -> torch.Tensor:
        made = original(self, shape, **options)
        return made.fill_(float("nan")) if isinstance(shape, tuple) else made

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)


REAL = real_shapes_only_on_a_device(
    *(
        {"lengths": [8191, 4096, 1, 2049], "group": g, "heads": h, "head_dim": 128}
        for g, h in ((2, 8), (4, 8), (5, 8), (8, 8), (8, 4))
    ),
    *(
        {"lengths": [32768, 31, 4097], "group": 4, "heads": 8, "head_dim": 128, "page": page}
        for page in (16, 64, 128, 256)
    ),
)


@pytest.mark.parametrize(
    "case",
    [
        *({"lengths": [70, 33], "group": group} for group in (1, 2, 3, 5, 8, 16)),
        *({"lengths": [length]} for length in (1, 15, 16, 17, 63, 64, 65, 127, 128, 129)),
        *({"lengths": [page - 1, page, page + 1], "page": page} for page in (32, 64, 128, 256)),
        {"lengths": [97, 1, 64], "heads": 2},
        {"lengths": [131], "head_dim": 128},
        {"lengths": [131], "head_dim": 128, "group": 5, "page": 64},
        {"lengths": [200, 77], "layout": "hnd"},
        {"lengths": [200], "shuffled": False},
        *REAL,
    ],
    ids=str,
)
def test_dense_is_within_the_error_budget(case: dict[str, Any], dtype: torch.dtype) -> None:
    inputs = inputs_for(dtype=dtype, **case)
    out, lse = decode_dense(inputs)
    assert_dense_correct(out, inputs, lse=lse)


@pytest.mark.parametrize("num_splits", [1, 2, 3, 7])
@pytest.mark.usefixtures("poisoned_partials")
def test_any_split_count_is_right_and_splits_without_tokens_are_not_read(num_splits: int, dtype: torch.dtype) -> None:
    inputs = inputs_for([300, 5], dtype)
    out, lse = decode_dense(inputs, num_splits=num_splits)
    assert_dense_correct(out, inputs, lse=lse)


@pytest.mark.parametrize(
    "plan",
    [
        SplitPlan(num_splits=4, min_split_tokens=1, programs_per_head=6),
        SplitPlan(num_splits=3, min_split_tokens=1, programs_per_head=100),
        SplitPlan(num_splits=8, min_split_tokens=128, programs_per_head=None),
    ],
    ids=str,
)
@pytest.mark.usefixtures("poisoned_partials")
def test_a_ragged_batch_sharing_out_its_tokens_is_right(plan: SplitPlan, dtype: torch.dtype) -> None:
    inputs = inputs_for([450, 40, 1], dtype)
    out, lse = (
        torch.full_like(inputs.q, float("nan")),
        torch.full_like(inputs.q[..., 0], float("nan"), dtype=torch.float32),
    )
    config = DecodeConfig(tile_tokens=64, num_warps=4, num_stages=2)
    attend_as_planned(attention_of(inputs), plan=plan, config=config, variant=VARIANTS[PLAIN], out=out, lse=lse)
    assert_dense_correct(out, inputs, lse=lse)


@pytest.mark.parametrize("page", [16, 64, 256])
@pytest.mark.parametrize("tile_tokens", [16, 32, 128])
def test_a_tile_may_be_smaller_or_larger_than_a_page(tile_tokens: int, page: int, dtype: torch.dtype) -> None:
    inputs = inputs_for([277], dtype, page=page)
    out = torch.full_like(inputs.q, float("nan"))
    config = DecodeConfig(tile_tokens=tile_tokens, num_warps=4, num_stages=2)
    plan = SplitPlan(num_splits=2, min_split_tokens=1, programs_per_head=None)
    attend_as_planned(attention_of(inputs), plan=plan, config=config, variant=VARIANTS[PLAIN], out=out, lse=None)
    assert_dense_correct(out, inputs)


def test_a_block_table_wider_than_needed_changes_nothing(dtype: torch.dtype) -> None:
    inputs = inputs_for([100, 40], dtype, table_width=64)
    out, lse = decode_dense(inputs)
    assert_dense_correct(out, inputs, lse=lse)


def test_strided_tensors_of_every_kind_are_read_and_written_right(dtype: torch.dtype) -> None:
    inputs = inputs_for([90, 35], dtype, heads=2)
    wide_q = inputs.q.new_full((2, 16, 64), float("nan"))
    wide_q[:, ::2] = inputs.q
    wide_table = inputs.block_table.repeat_interleave(2, dim=1)
    v_cache = inputs.v_cache.transpose(1, 2).contiguous().transpose(1, 2)
    seq_lens = inputs.seq_lens.repeat_interleave(2)[::2]
    wide_out = torch.full((2, 8, 128), float("nan"), dtype=dtype, device=DEVICE)
    cache = PagedCache(k_cache=inputs.k_cache, v_cache=v_cache, block_table=wide_table[:, ::2], seq_lens=seq_lens)
    api.paged_decode(wide_q[:, ::2], cache, out=wide_out[..., ::2], num_splits=2, backend="gpu")
    assert_dense_correct(wide_out[..., ::2].contiguous(), inputs)
    assert wide_out[..., 1::2].isnan().all()


def test_large_logits_do_not_overflow(dtype: torch.dtype) -> None:
    inputs = inputs_for([150], dtype)
    inputs.q.mul_(30)
    out, lse = decode_dense(inputs, num_splits=2)
    assert_dense_correct(out, inputs, lse=lse)


@pytest.mark.parametrize("num_splits", [1, 3])
def test_a_padded_row_of_a_graph_yields_zeros_and_touches_nothing_else(num_splits: int, dtype: torch.dtype) -> None:
    inputs = inputs_for([80, 50], dtype)
    seq_lens = inputs.seq_lens.clone()
    seq_lens[1] = 0
    out, lse = (
        torch.full_like(inputs.q, float("nan")),
        torch.full_like(inputs.q[..., 0], float("nan"), dtype=torch.float32),
    )
    expected, expected_lse = decode_dense(inputs, num_splits=num_splits)
    cache = replace(inputs.cache, seq_lens=seq_lens)
    dense.paged_decode(inputs.q, cache, softmax_scale=64**-0.5, num_splits=num_splits, out=out, lse=lse)
    assert torch.equal(out[0], expected[0])
    assert torch.equal(lse[0], expected_lse[0])
    assert (out[1] == 0).all()
    assert (lse[1] == float("-inf")).all()


def test_a_nan_in_one_partial_stays_visible_after_the_merge(dtype: torch.dtype) -> None:
    partial_out = torch.ones((1, 1, 3, 64), device=DEVICE)
    partial_lse = torch.tensor([[[0.0, float("nan"), 1.0]]], device=DEVICE)
    out = torch.zeros((1, 1, 64), dtype=dtype, device=DEVICE)
    launch_merge(partial_out, partial_lse, variant=VARIANTS[PLAIN], out=out, lse=None)
    assert out.isnan().all()


@pytest.mark.skipif(not IS_INTERPRETED, reason="takes gigabytes on a device, none in host memory")
def test_offsets_beyond_32_bits_are_right(dtype: torch.dtype) -> None:
    small = inputs_for([40], dtype, shuffled=False)
    page_stride = 2**30 + 64
    # Never touched but for three pages, so the operating system never backs the rest.
    memory = torch.empty(3 * page_stride, dtype=dtype)
    cache = memory.as_strided((3, *small.k_cache.shape[1:]), (page_stride, 64, 64, 1))
    cache.copy_(small.k_cache[:3])
    outs = []
    for keys in (cache, small.k_cache):
        outs.append(torch.full_like(small.q, float("nan")))
        pages = replace(small.cache, k_cache=keys, v_cache=keys)
        dense.paged_decode(small.q, pages, softmax_scale=0.125, num_splits=1, out=outs[-1], lse=None)
    assert torch.equal(*outs)


def test_more_splits_than_the_merge_holds_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_SPLITS}"):
        decode_dense(inputs_for([20], dtype), num_splits=MAX_SPLITS + 1)


def page_lists(inputs: DecodeInputs, num_pages: int) -> torch.Tensor:
    """A different random list for every head, ascending, ending in the current page; some shorter than others."""
    generator = torch.Generator().manual_seed(3)
    shape = inputs.shape
    lists = torch.full((shape.batch, shape.num_kv_heads, num_pages), -1, dtype=torch.int32)
    for request, length in enumerate(inputs.seq_lens.tolist()):
        present = num_pages_for(length, shape.page_size)
        for head in range(shape.num_kv_heads):
            count = min(present, num_pages - head % 2)
            logical = torch.randperm(present - 1, generator=generator)[: count - 1].sort().values
            logical = torch.cat((logical, torch.tensor([present - 1])))
            lists[request, head, : len(logical)] = inputs.block_table[request].cpu()[logical]
    return lists.to(DEVICE)


@pytest.mark.parametrize("num_splits", [0, 1, 3])
@pytest.mark.parametrize(
    "case",
    [
        {"lengths": [213, 17, 1], "heads": 2, "num_pages": 4},
        {"lengths": [128], "num_pages": 9},
        {"lengths": [129], "num_pages": 3, "group": 5},
        {"lengths": [400], "num_pages": 3, "page": 64, "heads": 2},
        *real_shapes_only_on_a_device(
            *(
                {"lengths": [30001, 8192, 100], "num_pages": 64, "group": g, "heads": 8, "head_dim": 128}
                for g in (2, 4, 5, 8)
            ),
            {"lengths": [30001, 8192], "num_pages": 16, "heads": 8, "head_dim": 128, "page": 64},
        ),
    ],
    ids=str,
)
@pytest.mark.usefixtures("poisoned_partials")
def test_sparse_is_within_the_error_budget(case: dict[str, Any], num_splits: int, dtype: torch.dtype) -> None:
    case = dict(case)
    num_pages = case.pop("num_pages")
    inputs = inputs_for(dtype=dtype, **case)
    lists = page_lists(inputs, num_pages)
    out, lse = decode_sparse(inputs, lists, num_splits=num_splits)
    assert_sparse_correct(out, inputs, lists, lse=lse)


@pytest.mark.parametrize("page", [16, 64])
def test_selecting_every_page_equals_dense(page: int, dtype: torch.dtype) -> None:
    inputs = inputs_for([100, 65, 1], dtype, heads=2, page=page)
    lists = torch.where(
        torch.arange(inputs.block_table.shape[1], device=DEVICE)
        < torch.tensor([[num_pages_for(n, page)] for n in (100, 65, 1)], device=DEVICE),
        inputs.block_table,
        -1,
    )
    lists = lists[:, None].expand(-1, 2, -1)
    assert torch.equal(decode_sparse(inputs, lists, num_splits=1)[0], decode_dense(inputs, num_splits=1)[0])


def test_a_padded_row_of_a_graph_is_left_alone_by_the_sparse_path_too(dtype: torch.dtype) -> None:
    inputs = inputs_for([80], dtype)
    out = torch.full_like(inputs.q, float("nan"))
    empty = torch.full((1, 1, 4), -1, dtype=torch.int32, device=DEVICE)
    cache = replace(inputs.cache, seq_lens=torch.zeros_like(inputs.seq_lens))
    block_topk.sparse_paged_decode(inputs.q, cache, empty, softmax_scale=0.125, num_splits=2, out=out, lse=None)
    assert (out == 0).all()


@pytest.mark.parametrize("kind", list(PageSummaryKind))
def test_the_whole_sparse_path_attends_what_it_selected(kind: PageSummaryKind, dtype: torch.dtype) -> None:
    inputs = inputs_for([170, 90], dtype, heads=2)
    selection = PageSelection(num_pages=5, num_sink_pages=1, num_local_pages=1)
    summary = api.summarize_pages(inputs.cache, kind=kind, backend="gpu")
    out = api.block_topk_decode(inputs.q, inputs.cache, summary, selection=selection, backend="gpu")
    scores = api.score_pages(inputs.q, inputs.cache, summary, backend="gpu")
    pages = api.select_pages(scores, inputs.cache, selection=selection, backend="gpu")
    assert_sparse_correct(out, inputs, pages)
