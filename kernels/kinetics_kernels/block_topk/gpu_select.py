"""Page selection on GPUs: an exact threshold by bisection, then an order-preserving compaction.

Scores become int32 keys in the same order, held in registers. Bisection finds a key that as many pages reach as are
wanted; the pages above it, and of those at it the first, move to the front by a prefix sum. So the result is ascending,
deterministic and right for any number of pages. Pages kept whatever their score do not compete.

One program selects for one request and KV head. A row too long for registers is selected in two levels: each tile
keeps its best as candidates (logical pages), then the candidates compete.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kinetics_kernels.shapes import PagedCache, PageSelection

MAX_REGISTER_PAGES = 8192
"""Keys one program holds in registers: 32 per thread at 8 warps."""

LOWEST_KEY = tl.constexpr(-(2**31))
"""Key of what does not compete: entries without a page, and pages kept whatever their score."""


@triton.jit
def ordered_keys(scores, is_candidate):
    """int32 keys in the order of the scores, all above LOWEST_KEY; what does not compete gets LOWEST_KEY."""
    # The two zeros are equal scores, but differ in their sign bit.
    bits = tl.where(scores == 0.0, 0.0, scores).to(tl.int32, bitcast=True)
    keys = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return tl.where(is_candidate, tl.maximum(keys, LOWEST_KEY + 1), LOWEST_KEY)


@triton.jit
def threshold_key(keys, num_wanted):
    """A key that exactly `num_wanted` keys reach; where ties forbid that, the highest that more than those reach."""
    low = tl.min(tl.where(keys > LOWEST_KEY, keys, 0x7FFFFFFF), axis=0).to(tl.int64)
    high = tl.max(keys, axis=0).to(tl.int64)
    while low < high:
        middle = (low + high + 1) >> 1
        num_passing = tl.sum((keys >= middle.to(tl.int32)).to(tl.int32), axis=0)
        low = tl.where(num_passing >= num_wanted, middle, low)
        high = tl.where(num_passing > num_wanted, high, tl.where(num_passing == num_wanted, middle, middle - 1))
    return low.to(tl.int32)


@triton.jit(do_not_specialize=["num_entries", "num_slots", "num_sink_pages", "num_local_pages"])
def select_kernel(
    scores_ptr,
    block_table_ptr,
    seq_lens_ptr,
    candidates_ptr,
    kept_ptr,
    scores_stride_batch,
    scores_stride_head,
    scores_stride_page,
    table_stride_batch,
    table_stride_page,
    seq_lens_stride,
    candidates_stride_batch,
    candidates_stride_head,
    kept_stride_batch,
    kept_stride_head,
    kept_stride_tile,
    kept_stride_slot,
    num_entries,
    num_slots,
    num_sink_pages,
    num_local_pages,
    PAGE_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_SLOTS: tl.constexpr,
    IS_FIRST_LEVEL: tl.constexpr,
):
    """Select among one tile of entries; grid (kv_head, tile, request).

    Entries are logical pages, or with `candidates_ptr` a list of them with gaps of -1. The first of two levels
    keeps logical pages, else physical ids are kept.
    """
    head, tile, request = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2).to(tl.int64)
    num_pages = tl.cdiv(tl.load(seq_lens_ptr + request * seq_lens_stride), PAGE_SIZE)
    entries = tile * BLOCK + tl.arange(0, BLOCK)
    pages = entries
    if candidates_ptr is not None:
        candidates_ptr += request * candidates_stride_batch + head * candidates_stride_head
        pages = tl.load(candidates_ptr + entries, mask=entries < num_entries, other=-1)
    is_present = (entries < num_entries) & (pages >= 0) & (pages < num_pages)
    is_forced = is_present & ((pages < num_sink_pages) | (pages >= num_pages - 1 - num_local_pages))
    scores_ptr += request * scores_stride_batch + head * scores_stride_head
    scores = tl.load(scores_ptr + pages * scores_stride_page, mask=is_present, other=0.0)
    keys = ordered_keys(scores, is_present & (is_forced == 0))

    num_kept = tl.minimum(num_slots, tl.sum(is_present.to(tl.int32), axis=0))
    num_wanted = num_kept - tl.sum(is_forced.to(tl.int32), axis=0)
    threshold = threshold_key(keys, num_wanted)
    is_above = is_forced | (keys > threshold)
    is_tie = (keys == threshold) & (keys > LOWEST_KEY)
    num_ties = num_kept - tl.sum(is_above.to(tl.int32), axis=0)
    # One scan counts both: those above in the low half, ties in the high half.
    counts = tl.cumsum(is_above.to(tl.int64) + (is_tie.to(tl.int64) << 32), axis=0)
    tie_rank = (counts >> 32).to(tl.int32)
    slots = (counts & 0xFFFFFFFF).to(tl.int32) + tl.minimum(tie_rank, num_ties) - 1
    is_kept = is_above | (is_tie & (tie_rank <= num_ties))
    kept = pages
    if not IS_FIRST_LEVEL:
        table_ptrs = block_table_ptr + request * table_stride_batch + pages * table_stride_page
        kept = tl.load(table_ptrs, mask=is_kept, other=-1)
    kept_ptr += request * kept_stride_batch + head * kept_stride_head + tile * kept_stride_tile
    tl.store(kept_ptr + slots * kept_stride_slot, kept, mask=is_kept)
    for start in range(0, num_slots, BLOCK_SLOTS):
        tail = start + tl.arange(0, BLOCK_SLOTS)
        no_page = tl.full([BLOCK_SLOTS], -1, tl.int32)
        tl.store(kept_ptr + tail * kept_stride_slot, no_page, mask=(tail >= num_kept) & (tail < num_slots))


def select_pages(
    scores: torch.Tensor,
    cache: PagedCache,
    *,
    selection: PageSelection,
    page_indices: torch.Tensor,
    max_register_pages: int = MAX_REGISTER_PAGES,
) -> None:
    """Write the physical ids of the pages kept, in ascending logical order, -1 in the tail.

    `max_register_pages`, a power of two, is the row length from which two levels are used.
    """
    num_entries = scores.shape[2]
    candidates = None
    if num_entries > max_register_pages:
        num_tiles = triton.cdiv(num_entries, max_register_pages)
        # A tile never needs to keep more than the row does.
        num_slots = min(page_indices.shape[2], max_register_pages)
        shape = (*scores.shape[:2], num_tiles, num_slots)
        tiled = torch.empty(shape, dtype=torch.int32, device=scores.device)
        _launch(scores, cache, None, tiled, selection=selection, block=max_register_pages)
        candidates = tiled.flatten(2)
        num_entries = candidates.shape[2]
    block = triton.next_power_of_2(num_entries)
    _launch(scores, cache, candidates, page_indices[:, :, None], selection=selection, block=block)


def _launch(
    scores: torch.Tensor,
    cache: PagedCache,
    candidates: torch.Tensor | None,
    kept: torch.Tensor,
    *,
    selection: PageSelection,
    block: int,
) -> None:
    """Select into `kept` [batch, num_kv_heads, tiles, slots]: of the row in tiles of `block`, or of the candidates."""
    batch, num_kv_heads, num_tiles, num_slots = kept.shape
    select_kernel[(num_kv_heads, num_tiles, batch)](
        scores,
        cache.block_table,
        cache.seq_lens,
        candidates,
        kept,
        *scores.stride(),
        *cache.block_table.stride(),
        *cache.seq_lens.stride(),
        *((0, 0) if candidates is None else candidates.stride()[:2]),
        *kept.stride(),
        scores.shape[2] if candidates is None else candidates.shape[2],
        num_slots,
        selection.num_sink_pages,
        selection.num_local_pages,
        PAGE_SIZE=cache.page_size,
        BLOCK=block,
        BLOCK_SLOTS=min(1024, triton.next_power_of_2(num_slots)),
        IS_FIRST_LEVEL=num_tiles > 1,
        num_warps=_num_warps(block),
    )


def _num_warps(block: int) -> int:
    """Warps for a tile of `block` keys: 8 keys a thread where that is possible, and at most 16 warps."""
    return max(1, min(16, block // 256))
