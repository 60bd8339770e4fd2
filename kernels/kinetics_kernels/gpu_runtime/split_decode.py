"""The jitted kernels of split-KV decode attention: one serves the dense and the sparse path, one merges the splits.

Grid (kv_head, split, request). A program packs the query heads of its KV head into one tile of 16 rows, streams its
share of the tokens tile by tile (page ids read one tile ahead, full tiles unmasked, then one masked tail), and keeps
a running softmax in float32. With one split it writes the answer, else a float32 partial and its base-2 LSE; a split
without tokens writes LSE -inf and exits, and the merge never reads its partial.

Layouts: `page_table` [batch, head, page] of physical ids, in ascending logical order; the dense path passes head
stride 0. Only the last page listed is partial. Any strides elsewhere.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.online_softmax import LN_2, fold_tile, merge_weights


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
def load_page_ids(list_ptr, list_stride, tile_start, end, PAGE_SIZE: tl.constexpr, TILE_TOKENS: tl.constexpr):
    """Physical page of each token of a tile, or of the tile when it lies in one page; clamped to the last page."""
    page = tile_start // PAGE_SIZE
    pages = page if TILE_TOKENS <= PAGE_SIZE else page + tl.arange(0, TILE_TOKENS) // PAGE_SIZE
    return tl.load(list_ptr + tl.minimum(pages, (end - 1) // PAGE_SIZE) * list_stride)


@triton.jit
def token_offsets(page_ids, tile_start, page_stride, token_stride, PAGE_SIZE: tl.constexpr, TILE_TOKENS: tl.constexpr):
    """Offset of each token of a tile from its head's base, [TILE_TOKENS, 1]."""
    # A tile starts at a multiple of its size, so over several pages the slots are the same for every tile.
    first_slot = tile_start % PAGE_SIZE if TILE_TOKENS <= PAGE_SIZE else 0
    slots = first_slot + tl.arange(0, TILE_TOKENS) % PAGE_SIZE
    # int64: page * page_stride passes 2**31 elements at 32k context, batch 256.
    return (page_ids.to(tl.int64) * page_stride + slots * token_stride)[:, None]


@triton.jit
def row_offsets(request, split, q_heads, batch_stride, split_stride, head_stride):
    """Offset of each query head of one request and split, [QUERY_ROWS]."""
    return request.to(tl.int64) * batch_stride + split * split_stride + q_heads * head_stride


@triton.jit(do_not_specialize=["batch", "table_width", "programs_per_head"])
def split_decode_kernel(
    q_ptr,
    k_cache_ptr,
    v_cache_ptr,
    page_table_ptr,
    seq_lens_ptr,
    out_ptr,
    lse_ptr,
    q_stride_batch,
    q_stride_head,
    q_stride_dim,
    k_stride_page,
    k_stride_token,
    k_stride_head,
    k_stride_dim,
    v_stride_page,
    v_stride_token,
    v_stride_head,
    v_stride_dim,
    table_stride_batch,
    table_stride_head,
    table_stride_page,
    seq_lens_stride,
    out_stride_batch,
    out_stride_head,
    out_stride_split,
    out_stride_dim,
    lse_stride_batch,
    lse_stride_head,
    lse_stride_split,
    scale_log2e,
    batch,
    table_width,
    programs_per_head,
    GROUP_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    QUERY_ROWS: tl.constexpr,
    MIN_SPLIT_TOKENS: tl.constexpr,
    COUNT_BLOCK: tl.constexpr,
    IS_PAGE_LIST: tl.constexpr,
    IS_BALANCED: tl.constexpr,
    IS_PARTIAL: tl.constexpr,
    IS_ONE_LAYOUT: tl.constexpr,
):
    """Attention of one KV head's query group over one split of one request's tokens."""
    kv_head, split, request = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    num_splits = tl.num_programs(1)
    list_ptr = page_table_ptr + request.to(tl.int64) * table_stride_batch + kv_head * table_stride_head
    num_tokens = tl.load(seq_lens_ptr + request * seq_lens_stride)
    if IS_PAGE_LIST:
        num_tokens = count_listed_tokens(list_ptr, table_stride_page, table_width, num_tokens, PAGE_SIZE, COUNT_BLOCK)
    split_tokens = tl.maximum(tl.cdiv(num_tokens, num_splits), MIN_SPLIT_TOKENS)
    if IS_BALANCED:
        fair_tokens = fair_share(seq_lens_ptr, seq_lens_stride, batch, programs_per_head, COUNT_BLOCK)
        split_tokens = tl.maximum(split_tokens, fair_tokens)
    split_tokens = tl.cdiv(split_tokens, TILE_TOKENS) * TILE_TOKENS
    start = split * split_tokens
    end = tl.minimum(start + split_tokens, num_tokens)

    rows = tl.arange(0, QUERY_ROWS)
    dims = tl.arange(0, HEAD_DIM)
    row_mask = rows < GROUP_SIZE
    q_heads = kv_head * GROUP_SIZE + rows
    if start >= end:
        if lse_ptr is not None:
            lse_offsets = row_offsets(request, split, q_heads, lse_stride_batch, lse_stride_split, lse_stride_head)
            tl.store(lse_ptr + lse_offsets, tl.full([QUERY_ROWS], float("-inf"), tl.float32), mask=row_mask)
        if not IS_PARTIAL:
            out_offsets = row_offsets(request, split, q_heads, out_stride_batch, out_stride_split, out_stride_head)
            out_ptrs = out_ptr + out_offsets[:, None] + dims[None, :] * out_stride_dim
            tl.store(out_ptrs, tl.zeros([QUERY_ROWS, HEAD_DIM], out_ptr.dtype.element_ty), mask=row_mask[:, None])
        return

    q_ptr += request.to(tl.int64) * q_stride_batch
    q = tl.load(
        q_ptr + q_heads[:, None] * q_stride_head + dims[None, :] * q_stride_dim, mask=row_mask[:, None], other=0.0
    )
    k_ptrs = k_cache_ptr + kv_head.to(tl.int64) * k_stride_head + dims[None, :] * k_stride_dim
    v_ptrs = v_cache_ptr + kv_head.to(tl.int64) * v_stride_head + dims[None, :] * v_stride_dim
    running_max = tl.full([QUERY_ROWS], float("-inf"), tl.float32)
    weight_sums = tl.zeros([QUERY_ROWS, TILE_TOKENS], tl.float32)
    accumulator = tl.zeros([QUERY_ROWS, HEAD_DIM], tl.float32)

    page_ids = load_page_ids(list_ptr, table_stride_page, start, end, PAGE_SIZE, TILE_TOKENS)
    tail_start = start + (end - start) // TILE_TOKENS * TILE_TOKENS
    for tile_start in range(start, tail_start, TILE_TOKENS):
        k_offsets = token_offsets(page_ids, tile_start, k_stride_page, k_stride_token, PAGE_SIZE, TILE_TOKENS)
        v_offsets = k_offsets
        if not IS_ONE_LAYOUT:
            v_offsets = token_offsets(page_ids, tile_start, v_stride_page, v_stride_token, PAGE_SIZE, TILE_TOKENS)
        # One tile ahead, so that no K load waits for its page id.
        page_ids = load_page_ids(list_ptr, table_stride_page, tile_start + TILE_TOKENS, end, PAGE_SIZE, TILE_TOKENS)
        keys = tl.load(k_ptrs + k_offsets)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee") * scale_log2e
        values = tl.load(v_ptrs + v_offsets)
        accumulator, weight_sums, running_max = fold_tile(accumulator, weight_sums, running_max, logits, values)
    if tail_start < end:
        # Read again, from a line the loop has just touched: carried over, the ids cost the loop registers.
        page_ids = load_page_ids(list_ptr, table_stride_page, tail_start, end, PAGE_SIZE, TILE_TOKENS)
        k_offsets = token_offsets(page_ids, tail_start, k_stride_page, k_stride_token, PAGE_SIZE, TILE_TOKENS)
        v_offsets = k_offsets
        if not IS_ONE_LAYOUT:
            v_offsets = token_offsets(page_ids, tail_start, v_stride_page, v_stride_token, PAGE_SIZE, TILE_TOKENS)
        token_mask = tail_start + tl.arange(0, TILE_TOKENS) < end
        keys = tl.load(k_ptrs + k_offsets, mask=token_mask[:, None], other=0.0)
        values = tl.load(v_ptrs + v_offsets, mask=token_mask[:, None], other=0.0)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee") * scale_log2e
        logits = tl.where(token_mask[None, :], logits, float("-inf"))
        accumulator, weight_sums, running_max = fold_tile(accumulator, weight_sums, running_max, logits, values)

    # Addresses are computed again rather than before the loop, where they would cost registers.
    weight_sum = tl.sum(weight_sums, axis=1)
    out_offsets = row_offsets(request, split, q_heads, out_stride_batch, out_stride_split, out_stride_head)
    out_ptrs = out_ptr + out_offsets[:, None] + dims[None, :] * out_stride_dim
    tl.store(out_ptrs, (accumulator / weight_sum[:, None]).to(out_ptr.dtype.element_ty), mask=row_mask[:, None])
    if lse_ptr is not None:
        log2_sum = running_max + tl.log2(weight_sum)
        lse_offsets = row_offsets(request, split, q_heads, lse_stride_batch, lse_stride_split, lse_stride_head)
        tl.store(lse_ptr + lse_offsets, log2_sum if IS_PARTIAL else log2_sum * LN_2, mask=row_mask)


@triton.jit(do_not_specialize=["num_splits"])
def merge_splits_kernel(
    partial_out_ptr,
    partial_lse_ptr,
    out_ptr,
    lse_ptr,
    num_splits,
    out_stride_batch,
    out_stride_head,
    out_stride_dim,
    lse_stride_batch,
    lse_stride_head,
    HEAD_DIM: tl.constexpr,
    BLOCK_SPLITS: tl.constexpr,
):
    """Merge the partials of one query head of one request; grid (num_q_heads, batch)."""
    head, request = tl.program_id(0), tl.program_id(1)
    row = request.to(tl.int64) * tl.num_programs(0) + head
    splits = tl.arange(0, BLOCK_SPLITS)
    dims = tl.arange(0, HEAD_DIM)
    split_mask = splits < num_splits
    log2_sums = tl.load(partial_lse_ptr + row * num_splits + splits, mask=split_mask, other=float("-inf"))
    weights, log2_sum = merge_weights(log2_sums)
    # A split that saw no token never wrote its partial. A NaN differs from -inf, so it is read and stays visible.
    partials = tl.load(
        partial_out_ptr + (row * num_splits + splits)[:, None] * HEAD_DIM + dims[None, :],
        mask=(split_mask & (log2_sums != float("-inf")))[:, None],
        other=0.0,
    )
    merged = tl.sum(partials * weights[:, None], axis=0)
    out_ptr += request.to(tl.int64) * out_stride_batch + head * out_stride_head
    tl.store(out_ptr + dims * out_stride_dim, merged.to(out_ptr.dtype.element_ty))
    if lse_ptr is not None:
        tl.store(lse_ptr + request.to(tl.int64) * lse_stride_batch + head * lse_stride_head, log2_sum * LN_2)
