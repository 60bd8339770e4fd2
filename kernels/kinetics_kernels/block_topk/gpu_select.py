"""Page selection on GPUs: an exact threshold by bisection, then an order-preserving compaction.

Scores become int32 keys in the same order, held in registers. Bisection, or a search eight ways at a time, finds a key
that as many pages reach as are wanted; the pages above it, and of those at it the first, move to the front by a prefix
sum. So the result is ascending, deterministic and right for any number of pages. Pages kept whatever their score do not
compete.

One program selects for one request and KV head. A row too long for registers is selected in two levels: each tile
keeps its best as candidates (logical pages), then the candidates compete.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.configs import launch_variant
from kinetics_kernels.gpu_runtime.device import gpu_device_of
from kinetics_kernels.gpu_runtime.overlap import overlap_options, wait_for_previous
from kinetics_kernels.shapes import PagedCache, PageSelection

MAX_REGISTER_PAGES = 8192
"""Keys one program holds in registers: 32 per thread at 8 warps."""

LEAST_BLOCK = 512
"""Shorter rows are selected by the code for so many: compiling costs more than their masked keys."""

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


@triton.jit
def searched_key(keys, num_wanted):
    """As `threshold_key`, eight ways at a time: each step counts what reaches seven keys spread over the range.

    Counts are below 2 ** 15, so that four of them share an integer and are summed as one.
    """
    low = tl.min(tl.where(keys > LOWEST_KEY, keys, 0x7FFFFFFF), axis=0).to(tl.int64)
    high = tl.max(keys, axis=0).to(tl.int64)
    while low < high:
        first = tl.zeros(keys.shape, tl.int64)
        second = tl.zeros(keys.shape, tl.int64)
        for way in tl.static_range(1, 8):
            probe = (low + ((high - low) * way + 7) // 8).to(tl.int32)
            if way < 5:
                first += (keys >= probe).to(tl.int64) << (16 * (way - 1))
            else:
                second += (keys >= probe).to(tl.int64) << (16 * (way - 5))
        first_counts, second_counts = tl.sum(first, axis=0), tl.sum(second, axis=0)
        next_low, next_high = low, high
        for way in tl.static_range(7, 0, -1):
            probe = low + ((high - low) * way + 7) // 8
            counts = first_counts >> (16 * (way - 1)) if way < 5 else second_counts >> (16 * (way - 5))
            num_passing = (counts & 0xFFFF).to(tl.int32)
            # From the highest probe down: the last one that too few reach bounds the range from above, and the first
            # one that enough reach from below.
            next_high = tl.where(num_passing < num_wanted, probe - 1, next_high)
            next_low = tl.where((num_passing >= num_wanted) & (probe > next_low), probe, next_low)
            next_high = tl.where(num_passing == num_wanted, probe, next_high)
        low, high = next_low, tl.maximum(next_low, next_high)
    return low.to(tl.int32)


@triton.jit(do_not_specialize=["num_entries", "num_slots", "num_sink_pages", "num_local_pages"])
def select_kernel(
    scores_ptr,
    block_table_ptr,
    seq_lens_ptr,
    candidates_ptr,
    kept_ptr,
    scores_strides,
    table_strides,
    seq_lens_stride,
    candidates_strides,
    kept_strides,
    num_entries,
    num_slots,
    num_sink_pages,
    num_local_pages,
    PAGE_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_SLOTS: tl.constexpr,
    IS_FIRST_LEVEL: tl.constexpr,
    SEARCH_WAYS: tl.constexpr,
    IS_OVERLAPPED: tl.constexpr,
):
    """Select among one tile of entries; grid (kv_head, tile, request).

    Entries are logical pages, or with `candidates_ptr` a list of them with gaps of -1. The first of two levels
    keeps logical pages, else physical ids are kept.
    """
    wait_for_previous(IS_OVERLAPPED)
    head, tile, request = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2).to(tl.int64)
    num_pages = tl.cdiv(tl.load(seq_lens_ptr + request * seq_lens_stride), PAGE_SIZE)
    entries = tile * BLOCK + tl.arange(0, BLOCK)
    pages = entries
    if candidates_ptr is not None:
        candidates_ptr += request * candidates_strides[0] + head * candidates_strides[1]
        pages = tl.load(candidates_ptr + entries, mask=entries < num_entries, other=-1)
    is_present = (entries < num_entries) & (pages >= 0) & (pages < num_pages)
    is_forced = is_present & ((pages < num_sink_pages) | (pages >= num_pages - 1 - num_local_pages))
    scores_ptr += request * scores_strides[0] + head * scores_strides[1]
    scores = tl.load(scores_ptr + pages * scores_strides[2], mask=is_present, other=0.0)
    keys = ordered_keys(scores, is_present & (is_forced == 0))

    num_kept = tl.minimum(num_slots, tl.sum(is_present.to(tl.int32), axis=0))
    num_wanted = num_kept - tl.sum(is_forced.to(tl.int32), axis=0)
    threshold = searched_key(keys, num_wanted) if SEARCH_WAYS == 8 else threshold_key(keys, num_wanted)
    is_above = is_forced | (keys > threshold)
    is_tie = (keys == threshold) & (keys > LOWEST_KEY)
    num_ties = tl.maximum(num_kept - tl.sum(is_above.to(tl.int32), axis=0), 0)
    # One scan counts both: those above in the low half, ties in the high half.
    counts = tl.cumsum(is_above.to(tl.int64) + (is_tie.to(tl.int64) << 32), axis=0)
    tie_rank = (counts >> 32).to(tl.int32)
    slots = (counts & 0xFFFFFFFF).to(tl.int32) + tl.minimum(tie_rank, num_ties) - 1
    # Whatever the search finds, nothing is written past the list.
    is_kept = (is_above | (is_tie & (tie_rank <= num_ties))) & (slots < num_slots)
    kept = pages
    if not IS_FIRST_LEVEL:
        table_ptrs = block_table_ptr + request * table_strides[0] + pages * table_strides[1]
        kept = tl.load(table_ptrs, mask=is_kept, other=-1)
    kept_ptr += request * kept_strides[0] + head * kept_strides[1] + tile * kept_strides[2]
    tl.store(kept_ptr + slots * kept_strides[3], kept, mask=is_kept)
    for start in range(0, num_slots, BLOCK_SLOTS):
        tail = start + tl.arange(0, BLOCK_SLOTS)
        no_page = tl.full([BLOCK_SLOTS], -1, tl.int32)
        tl.store(kept_ptr + tail * kept_strides[3], no_page, mask=(tail >= num_kept) & (tail < num_slots))


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
    block = max(LEAST_BLOCK, triton.next_power_of_2(num_entries))
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
    variant = launch_variant(gpu_device_of(scores).arch)
    select_kernel[(num_kv_heads, num_tiles, batch)](
        scores,
        cache.block_table,
        cache.seq_lens,
        candidates,
        kept,
        scores.stride(),
        cache.block_table.stride(),
        cache.seq_lens.stride(0),
        (0, 0) if candidates is None else candidates.stride()[:2],
        kept.stride(),
        scores.shape[2] if candidates is None else candidates.shape[2],
        num_slots,
        selection.num_sink_pages,
        selection.num_local_pages,
        PAGE_SIZE=cache.page_size,
        BLOCK=block,
        BLOCK_SLOTS=min(1024, triton.next_power_of_2(num_slots)),
        IS_FIRST_LEVEL=num_tiles > 1,
        SEARCH_WAYS=variant.search_ways,
        IS_OVERLAPPED=variant.is_overlapped,
        num_warps=_num_warps(block),
        **overlap_options(is_overlapped=variant.is_overlapped),
    )


def _num_warps(block: int) -> int:
    """Warps for a tile of `block` keys: 8 keys a thread where that is possible, and at most 16 warps."""
    return max(1, min(16, block // 256))
