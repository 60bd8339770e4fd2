"""Attention of one query group over one split of a request's tokens: what every decode kernel on GPUs is made of.

A program packs the query heads of its KV head into one tile of 16 rows, streams its share of the tokens tile by tile
(page ids read one tile ahead, full tiles unmasked, then one masked tail), and keeps a running softmax in float32.

Layouts: a page list holds physical ids in ascending logical order, and only its last page is partial; any strides, in
tuples: cache (page, token, head, dim).
"""

from __future__ import annotations

import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.online_softmax import fold_tile


@triton.jit
def count_listed_tokens(list_ptr, list_stride, list_len, seq_len, PAGE_SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Tokens in the pages of one list: every page before the -1 tail is full, but the last one."""
    num_listed = 0
    for start in range(0, list_len, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        ids = tl.load(list_ptr + entries * list_stride, mask=entries < list_len, other=-1)
        num_listed += tl.sum((ids >= 0).to(tl.int32), axis=0)
    last_page_tokens = (seq_len - 1) % PAGE_SIZE + 1
    return tl.where(seq_len > 0, (num_listed - 1) * PAGE_SIZE + last_page_tokens, 0)


@triton.jit
def fair_share(seq_lens_ptr, seq_lens_stride, batch, programs_per_head, BLOCK: tl.constexpr):
    """Tokens per program if the whole batch's tokens were dealt out evenly."""
    total_tokens = 0
    for start in range(0, batch, BLOCK):
        requests = start + tl.arange(0, BLOCK)
        lens = tl.load(seq_lens_ptr + requests * seq_lens_stride, mask=requests < batch, other=0)
        total_tokens += tl.sum(lens, axis=0)
    return tl.cdiv(total_tokens, programs_per_head)


@triton.jit
def tokens_per_split(num_tokens, least_tokens, TILE_TOKENS: tl.constexpr):
    """Whole tiles per split of a request, at least `least_tokens`; the last splits may be left without any."""
    split_tokens = tl.maximum(tl.cdiv(num_tokens, tl.num_programs(1)), least_tokens)
    return tl.cdiv(split_tokens, TILE_TOKENS) * TILE_TOKENS


@triton.jit
def load_page_ids(list_ptr, list_stride, tile_start, end, PAGE_SIZE: tl.constexpr, TILE_TOKENS: tl.constexpr):
    """Physical page of each token of a tile, or of the tile when it lies in one page; clamped to the last page."""
    page = tile_start // PAGE_SIZE
    pages = page if TILE_TOKENS <= PAGE_SIZE else page + tl.arange(0, TILE_TOKENS) // PAGE_SIZE
    return tl.load(list_ptr + tl.minimum(pages, (end - 1) // PAGE_SIZE) * list_stride)


@triton.jit
def token_offsets(page_ids, tile_start, strides, PAGE_SIZE: tl.constexpr, TILE_TOKENS: tl.constexpr):
    """Offset of each token of a tile from its head's base, [TILE_TOKENS, 1]."""
    # A tile starts at a multiple of its size, so over several pages the slots are the same for every tile.
    first_slot = tile_start % PAGE_SIZE if TILE_TOKENS <= PAGE_SIZE else 0
    slots = first_slot + tl.arange(0, TILE_TOKENS) % PAGE_SIZE
    # int64: page * page_stride passes 2**31 elements at 32k context, batch 256.
    return (page_ids.to(tl.int64) * strides[0] + slots * strides[1])[:, None]


@triton.jit
def row_offsets(request, q_heads, strides):
    """Offset of each query head of one request, [rows]; `strides` begin with those of request and head."""
    return request.to(tl.int64) * strides[0] + q_heads * strides[1]


@triton.jit
def load_query(q_ptr, request, q_heads, row_mask, strides, HEAD_DIM: tl.constexpr):
    """The query heads of one group, [rows, HEAD_DIM]; rows past the group are zero."""
    offsets = row_offsets(request, q_heads, strides)[:, None] + tl.arange(0, HEAD_DIM)[None, :] * strides[2]
    return tl.load(q_ptr + offsets, mask=row_mask[:, None], other=0.0)


@triton.jit
def attend_to_tokens(
    q,
    k_cache_ptr,
    v_cache_ptr,
    list_ptr,
    kv_head,
    start,
    end,
    scale_log2e,
    k_strides,
    v_strides,
    list_stride,
    PAGE_SIZE: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    IS_ONE_LAYOUT: tl.constexpr,
):
    """Softmax attention of q [rows, dims] over the tokens start <= token < end of one list, not empty.

    Returns [rows, dims] in float32 and the base-2 LSE [rows].
    """
    dims = tl.arange(0, q.shape[1])
    k_ptrs = k_cache_ptr + kv_head.to(tl.int64) * k_strides[2] + dims[None, :] * k_strides[3]
    v_ptrs = v_cache_ptr + kv_head.to(tl.int64) * v_strides[2] + dims[None, :] * v_strides[3]
    running_max = tl.full([q.shape[0]], float("-inf"), tl.float32)
    weight_sums = tl.zeros([q.shape[0], TILE_TOKENS], tl.float32)
    accumulator = tl.zeros([q.shape[0], q.shape[1]], tl.float32)

    page_ids = load_page_ids(list_ptr, list_stride, start, end, PAGE_SIZE, TILE_TOKENS)
    tail_start = start + (end - start) // TILE_TOKENS * TILE_TOKENS
    for tile_start in range(start, tail_start, TILE_TOKENS):
        k_offsets = token_offsets(page_ids, tile_start, k_strides, PAGE_SIZE, TILE_TOKENS)
        v_offsets = k_offsets
        if not IS_ONE_LAYOUT:
            v_offsets = token_offsets(page_ids, tile_start, v_strides, PAGE_SIZE, TILE_TOKENS)
        # One tile ahead, so that no K load waits for its page id.
        page_ids = load_page_ids(list_ptr, list_stride, tile_start + TILE_TOKENS, end, PAGE_SIZE, TILE_TOKENS)
        keys = tl.load(k_ptrs + k_offsets)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee") * scale_log2e
        values = tl.load(v_ptrs + v_offsets)
        accumulator, weight_sums, running_max = fold_tile(accumulator, weight_sums, running_max, logits, values)
    if tail_start < end:
        # Read again, from a line the loop has just touched: carried over, the ids cost the loop registers.
        page_ids = load_page_ids(list_ptr, list_stride, tail_start, end, PAGE_SIZE, TILE_TOKENS)
        k_offsets = token_offsets(page_ids, tail_start, k_strides, PAGE_SIZE, TILE_TOKENS)
        v_offsets = k_offsets
        if not IS_ONE_LAYOUT:
            v_offsets = token_offsets(page_ids, tail_start, v_strides, PAGE_SIZE, TILE_TOKENS)
        token_mask = tail_start + tl.arange(0, TILE_TOKENS) < end
        keys = tl.load(k_ptrs + k_offsets, mask=token_mask[:, None], other=0.0)
        values = tl.load(v_ptrs + v_offsets, mask=token_mask[:, None], other=0.0)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee") * scale_log2e
        logits = tl.where(token_mask[None, :], logits, float("-inf"))
        accumulator, weight_sums, running_max = fold_tile(accumulator, weight_sums, running_max, logits, values)
    weight_sum = tl.sum(weight_sums, axis=1)
    return accumulator / weight_sum[:, None], running_max + tl.log2(weight_sum)
