"""Append and page summaries on the CPU, float32: launches the compiled kernels."""

from __future__ import annotations

import torch

from kinetics_kernels.cpu_runtime.layout import with_unit_stride
from kinetics_kernels.cpu_runtime.threads import Body, arguments_of, run_on_threads
from kinetics_kernels.kv_cache.cpu_pages import Arguments, append_items, summarize_items
from kinetics_kernels.shapes import PagedCache, PageSummary, PageSummaryKind


def append_kv(k: torch.Tensor, v: torch.Tensor, cache: PagedCache, *, page_summary: PageSummary | None) -> None:
    """Write each request's newest key and value at position seq_len - 1; then summarise the page it fell into."""
    written_k, written_v = with_unit_stride(cache.k_cache), with_unit_stride(cache.v_cache)
    new = (k.contiguous(), v.contiguous(), written_v)
    _run(append_items, written_k, cache, page_summary=page_summary, new=new, num_pages=k.shape[0])
    _copy_back(cache.k_cache, written_k)
    _copy_back(cache.v_cache, written_v)


def summarize_pages(cache: PagedCache, *, page_summary: PageSummary) -> None:
    """Write the summary of every page the requests use; other pages keep theirs."""
    k_cache, num_pages = with_unit_stride(cache.k_cache), cache.block_table.numel()
    _run(summarize_items, k_cache, cache, page_summary=page_summary, new=None, num_pages=num_pages)


def _run(
    body: Body,
    k_cache: torch.Tensor,
    cache: PagedCache,
    *,
    page_summary: PageSummary | None,
    new: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None,
    num_pages: int,
) -> None:
    """Run a kernel over `num_pages` pages; `new` holds the keys and values to write and the cache of values."""
    block_table, seq_lens = cache.block_table.contiguous(), cache.seq_lens.contiguous()
    summary = None if page_summary is None else with_unit_stride(page_summary.values)
    has_extrema = page_summary is not None and page_summary.kind is PageSummaryKind.MIN_MAX
    page_stride, slot_stride, head_stride, _ = k_cache.stride()
    arguments = arguments_of(
        Arguments,
        k=0 if new is None else new[0].data_ptr(),
        v=0 if new is None else new[1].data_ptr(),
        k_cache=k_cache.data_ptr(),
        v_cache=0 if new is None else new[2].data_ptr(),
        summary=0 if summary is None else summary.data_ptr(),
        block_table=block_table.data_ptr(),
        seq_lens=seq_lens.data_ptr(),
        batch=block_table.shape[0],
        num_kv_heads=k_cache.shape[2],
        head_dim=k_cache.shape[3],
        page_size=k_cache.shape[1],
        table_width=block_table.shape[1],
        k_page_stride=page_stride,
        k_slot_stride=slot_stride,
        k_head_stride=head_stride,
        v_page_stride=0 if new is None else new[2].stride(0),
        v_slot_stride=0 if new is None else new[2].stride(1),
        v_head_stride=0 if new is None else new[2].stride(2),
        summary_page_stride=0 if summary is None else summary.stride(0),
        summary_part_stride=0 if summary is None or not has_extrema else summary.stride(1),
        summary_head_stride=0 if summary is None else summary.stride(-2),
        has_summary=summary is not None,
        has_extrema=has_extrema,
    )
    run_on_threads(body, arguments, num_elements=num_pages * k_cache[0].numel())
    if page_summary is not None and summary is not None:
        _copy_back(page_summary.values, summary)


def _copy_back(tensor: torch.Tensor, written: torch.Tensor) -> None:
    if written is not tensor:
        tensor.copy_(written)
