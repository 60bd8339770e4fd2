"""Planted bugs in the gpu kernels: each must be caught by a check of the kind the other tests make."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from kinetics_kernels import api
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummaryKind
from kinetics_kernels.testing import assert_dense_correct, assert_sparse_correct, make_inputs
from tests.support.kernel_setting import IS_INTERPRETED, tables_alone

if not IS_INTERPRETED:
    pytest.skip("planted bugs may read anywhere: interpreted only, by test_gpu_interpreter.py", allow_module_level=True)

from kinetics_kernels.block_topk import gpu_score, gpu_select
from kinetics_kernels.gpu_runtime import (
    counters,
    merged_decode,
    narrow_attention,
    online_softmax,
    paged_attention,
    split_attention,
    split_decode,
)
from kinetics_kernels.gpu_runtime.configs import use_variant
from kinetics_kernels.kv_cache import e4m3
from kinetics_kernels.kv_cache import gpu as kv_cache

SHAPE = DecodeShape(batch=2, context_len=200, num_q_heads=8, num_kv_heads=2, head_dim=64, page_size=16)


def check_dense() -> None:
    inputs = make_inputs(SHAPE, dtype=torch.float32, device="cpu", seed=4, seq_lens=[200, 133])
    out = torch.full_like(inputs.q, float("nan"))
    _, lse = api.paged_decode_with_lse(inputs.q, inputs.cache, out=out, num_splits=2, backend="gpu")
    assert_dense_correct(out, inputs, lse=lse)


def check_sparse() -> None:
    inputs = make_inputs(SHAPE, dtype=torch.float32, device="cpu", seed=4, seq_lens=[200, 133])
    summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN, backend="reference")
    scores = api.score_pages(inputs.q, inputs.cache, summary, backend="reference")
    selection = PageSelection(num_pages=5, num_sink_pages=1, num_local_pages=1)
    pages = api.select_pages(scores, inputs.cache, selection=selection, backend="reference")
    out = api.sparse_paged_decode(inputs.q, inputs.cache, pages, num_splits=1, backend="gpu")
    assert_sparse_correct(out, inputs, pages)


def check_append() -> None:
    for kind in PageSummaryKind:
        inputs = make_inputs(SHAPE, dtype=torch.float32, device="cpu", seed=4, seq_lens=[200, 133])
        summary = api.summarize_pages(inputs.cache, kind=kind, backend="reference")
        k = torch.randn(2, 2, 64) * 5
        api.append_kv(k, -k, inputs.cache, page_summary=summary, backend="gpu")
        expected = api.summarize_pages(inputs.cache, kind=kind, backend="reference")
        torch.testing.assert_close(summary.values, expected.values, equal_nan=True)


def check_scores() -> None:
    for kind in PageSummaryKind:
        inputs = make_inputs(SHAPE, dtype=torch.float32, device="cpu", seed=4, seq_lens=[200, 133])
        summary = api.summarize_pages(inputs.cache, kind=kind, backend="reference")
        made, expected = (
            api.score_pages(inputs.q, inputs.cache, summary, backend=backend) for backend in ("gpu", "reference")
        )
        torch.testing.assert_close(made, expected)


def check_selection() -> None:
    scores = torch.randn(2, 2, 40, generator=torch.Generator().manual_seed(6)).mul(2).round()
    block_table = torch.randperm(80, generator=torch.Generator().manual_seed(6)).int().view(2, 40)
    cache = tables_alone(block_table, torch.tensor([640, 401], dtype=torch.int32))
    selection = PageSelection(num_pages=9, num_sink_pages=2, num_local_pages=1)
    made, expected = (
        api.select_pages(scores, cache, selection=selection, backend=backend) for backend in ("gpu", "reference")
    )
    assert torch.equal(made, expected)


def check_merged() -> None:
    inputs = make_inputs(SHAPE, dtype=torch.float32, device="cpu", seed=4, seq_lens=[200, 133])
    with use_variant("merged"):
        for _ in range(2):  # a counter that is not set back shows in the second call
            out = torch.full_like(inputs.q, float("nan"))
            _, lse = api.paged_decode_with_lse(inputs.q, inputs.cache, out=out, num_splits=3, backend="gpu")
            assert_dense_correct(out, inputs, lse=lse)


def check_eight_way() -> None:
    with use_variant("eight_way"):
        check_selection()


def check_narrow() -> None:
    inputs = make_inputs(SHAPE, dtype=torch.float32, device="cpu", seed=4, seq_lens=[200, 133])
    inputs.v_cache.mul_(torch.logspace(-1, 1, inputs.cache.num_physical_pages, base=8.0)[:, None, None, None])
    inputs.k_cache.mul_(torch.logspace(-1, 1, inputs.cache.num_physical_pages, base=3.0)[:, None, None, None])
    inputs = replace(inputs, cache=e4m3.narrow_cache(inputs.cache))
    out = torch.full_like(inputs.q, float("nan"))
    _, lse = api.paged_decode_with_lse(inputs.q, inputs.cache, out=out, num_splits=2, backend="gpu")
    assert_dense_correct(out, inputs, lse=lse)


CHECKS = [
    check_dense,
    check_sparse,
    check_append,
    check_scores,
    check_selection,
    check_merged,
    check_eight_way,
    check_narrow,
]

MUTATIONS: dict[str, tuple[ModuleType, str, str, Callable[[], None]]] = {
    "wrong_token_stride": (
        split_attention,
        "token_offsets(page_ids, tile_start, k_strides, ",
        "token_offsets(page_ids, tile_start, (k_strides[0], k_strides[2]), ",
        check_dense,
    ),
    "dropped_tail_token": (
        split_attention,
        "token_mask = tail_start + tl.arange(0, TILE_TOKENS) < end",
        "token_mask = tail_start + tl.arange(0, TILE_TOKENS) < end - 1",
        check_dense,
    ),
    "unmasked_tail": (
        split_attention,
        'logits = tl.where(token_mask[None, :], logits, float("-inf"))',
        "logits += 0",
        check_dense,
    ),
    "page_off_by_one": (
        split_attention,
        "page = tile_start // PAGE_SIZE",
        "page = tile_start // PAGE_SIZE + 1",
        check_dense,
    ),
    "stale_prefetched_page": (
        split_attention,
        "list_ptr, list_stride, tile_start + TILE_TOKENS, end,",
        "list_ptr, list_stride, tile_start, end,",
        check_dense,
    ),
    "forgotten_rescale": (
        online_softmax,
        "accumulator * rescale[:, None]",
        "accumulator",
        check_dense,
    ),
    "forgotten_rescale_of_the_sums": (
        online_softmax,
        "weight_sums * rescale[:, None] + weights",
        "weight_sums + weights",
        check_dense,
    ),
    "base_2_lse": (split_decode, "lse_strides[1], log2_sum * LN_2)", "lse_strides[1], log2_sum)", check_dense),
    "unweighted_merge": (
        split_decode,
        "tl.sum(partials * weights[:, None], axis=0)",
        "tl.sum(partials, axis=0)",
        check_dense,
    ),
    "full_last_page": (
        split_attention,
        "last_page_tokens = (seq_len - 1) % PAGE_SIZE + 1",
        "last_page_tokens = PAGE_SIZE",
        check_sparse,
    ),
    "dense_list_for_every_head": (
        split_decode,
        "+ kv_head * table_strides[1]",
        "+ 0 * table_strides[1]",
        check_sparse,
    ),
    "newest_key_not_in_its_summary": (kv_cache, "total += newest", "total += 0", check_append),
    "maximum_without_newest_key": (kv_cache, "largest = tl.maximum(largest, newest)", "largest += 0", check_append),
    "swapped_extrema": (
        gpu_score,
        "* high + negative[None, :] * low",
        "* low + negative[None, :] * high",
        check_scores,
    ),
    "counter_not_set_back": (
        merged_decode,
        "tl.store(finished_ptr, 0)",
        "tl.store(finished_ptr, 1)",
        check_merged,
    ),
    "merged_one_program_early": (
        merged_decode,
        "== num_programs - 1",
        "== num_programs - 2",
        check_merged,
    ),
    "merge_without_the_last_split": (
        merged_decode,
        "split_mask = splits < num_splits",
        "split_mask = splits < num_splits - 1",
        check_merged,
    ),
    "rows_of_another_split": (
        merged_decode,
        "split * group_size + rows",
        "rows",
        check_merged,
    ),
    "the_upper_probes_not_counted": (
        gpu_select,
        "first_counts, second_counts = tl.sum(first, axis=0), tl.sum(second, axis=0)",
        "first_counts, second_counts = tl.sum(first, axis=0), tl.sum(second, axis=0) * 0",
        check_eight_way,
    ),
    "values_in_no_unit": (
        narrow_attention,
        "accumulator * (unit / weight_sum)[:, None]",
        "accumulator / weight_sum[:, None]",
        check_narrow,
    ),
    "one_scale_for_every_page": (
        narrow_attention,
        "page_ids.to(tl.int64) * strides[0] + kv_head",
        "page_ids.to(tl.int64) * 0 + kv_head",
        check_narrow,
    ),
    "rows_not_scaled_back": (
        narrow_attention,
        "row_scales *= scale_log2e",
        "row_scales = row_scales * 0 + scale_log2e",
        check_narrow,
    ),
    "ties_to_nobody": (gpu_select, "(tie_rank <= num_ties)", "(tie_rank < num_ties)", check_selection),
    "threshold_below_its_step": (gpu_select, "return low.to(tl.int32)", "return low.to(tl.int32) - 1", check_selection),
    "local_pages_off_by_one": (
        gpu_select,
        "pages >= num_pages - 1 - num_local_pages",
        "pages >= num_pages - num_local_pages",
        check_selection,
    ),
}


@pytest.fixture(autouse=True)
def own_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a planted bug leaves in the counters must not reach the next test."""
    monkeypatch.setattr(counters, "_by_stream", {})


@pytest.mark.kernel
@pytest.mark.parametrize("check", CHECKS)
def test_without_a_planted_bug_every_check_passes(check: Callable[[], None]) -> None:
    check()


@pytest.mark.kernel
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_bug_is_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, old, new, check = MUTATIONS[name]
    plant(module, old, new, folder=tmp_path, monkeypatch=monkeypatch)
    with pytest.raises(AssertionError):
        check()


def plant(module: ModuleType, old: str, new: str, *, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load a copy of a module with one piece of its text replaced, and put its kernels where the originals are."""
    assert module.__file__ is not None
    text = Path(module.__file__).read_text(encoding="utf-8")
    assert old in text, f"{module.__name__} no longer contains {old!r}: plant the bug anew"
    path = folder / "mutant.py"
    path.write_text(text.replace(old, new), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mutant", path)
    assert spec is not None
    assert spec.loader is not None
    mutant = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mutant", mutant)
    spec.loader.exec_module(mutant)
    kernels = {name: kernel for name, kernel in vars(module).items() if type(kernel).__name__ == "InterpretedFunction"}
    for user in (module, narrow_attention, split_attention, split_decode, merged_decode, paged_attention):
        for kernel_name, kernel in kernels.items():
            if getattr(user, kernel_name, None) is kernel:
                monkeypatch.setattr(user, kernel_name, getattr(mutant, kernel_name))
