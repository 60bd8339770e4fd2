"""Launching attention over page lists: sizes and addresses for the compiled kernel, and how finely to split."""

from __future__ import annotations

import math

import torch

from kinetics_kernels.cpu_runtime.layout import with_unit_stride
from kinetics_kernels.cpu_runtime.page_attention import Arguments, attend_items
from kinetics_kernels.cpu_runtime.threads import arguments_of, run_on_threads
from kinetics_kernels.shapes import PagedCache, num_pages_for

ITEMS_PER_THREAD = 8
"""Enough items that a core slowed down by other work leaves no long tail."""
MIN_SPLIT_TOKENS = 256
"""Shorter splits spend their time merging."""
MAX_SPLIT_TOKENS = 512
"""Longer running sums in float32 lose more digits than plain torch does, whose sums are pairwise: over 1,024 keys two
fifths more. It was no slower than 2,048 as far as 30 interleaved rounds tell (0.99x to 1.05x, IQR 0.1)."""


def attend_to_page_lists(
    q: torch.Tensor,
    cache: PagedCache,
    page_lists: torch.Tensor,
    *,
    is_dense: bool,
    softmax_scale: float,
    num_splits: int,
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Attend to the pages listed, [batch, lists_per_request, list_width], each list for its share of the KV heads.

    A dense list holds the pages of the context, whatever its width; a sparse one ends before its first -1.
    """
    # The kernel wants unit stride over head_dim; only an unusual cache has another, and is copied for it.
    k_cache, v_cache = with_unit_stride(cache.k_cache), with_unit_stride(cache.v_cache)
    q, page_lists, seq_lens = q.contiguous(), page_lists.contiguous(), cache.seq_lens.contiguous()
    written = out if out.is_contiguous() else torch.empty_like(q)
    batch, num_q_heads, head_dim = q.shape
    page_size, num_kv_heads = cache.page_size, cache.num_kv_heads
    lists_per_request, list_width = page_lists.shape[1:]
    longest = num_pages_for(max(seq_lens.tolist()), page_size) if is_dense else list_width
    split_pages = pages_per_split(longest, batch * lists_per_request, page_size=page_size, num_splits=num_splits)
    max_splits = math.ceil(longest / split_pages)
    num_states = batch * num_q_heads * max_splits
    partial = torch.empty(num_states * (head_dim + 2))
    finished_splits = torch.zeros(batch * lists_per_request, dtype=torch.int64)
    k_page_stride, k_slot_stride, k_head_stride, _ = k_cache.stride()
    v_page_stride, v_slot_stride, v_head_stride, _ = v_cache.stride()
    arguments = arguments_of(
        Arguments,
        q=q.data_ptr(),
        k_cache=k_cache.data_ptr(),
        v_cache=v_cache.data_ptr(),
        page_lists=page_lists.data_ptr(),
        seq_lens=seq_lens.data_ptr(),
        out=written.data_ptr(),
        lse=0 if lse is None else lse.data_ptr(),
        partial_max=partial.data_ptr(),
        partial_sum=partial.data_ptr() + num_states * partial.itemsize,
        partial_out=partial.data_ptr() + 2 * num_states * partial.itemsize,
        finished_splits=finished_splits.data_ptr(),
        k_page_stride=k_page_stride,
        k_slot_stride=k_slot_stride,
        k_head_stride=k_head_stride,
        v_page_stride=v_page_stride,
        v_slot_stride=v_slot_stride,
        v_head_stride=v_head_stride,
        batch=batch,
        lists_per_request=lists_per_request,
        heads_per_list=num_kv_heads // lists_per_request,
        group_size=num_q_heads // num_kv_heads,
        head_dim=head_dim,
        page_size=page_size,
        list_width=list_width,
        is_dense=is_dense,
        pages_per_split=split_pages,
        max_splits=max_splits,
        has_lse=lse is not None,
        logit_scale=softmax_scale * math.log2(math.e),
    )
    num_keys = batch * longest * page_size
    run_on_threads(attend_items, arguments, num_elements=num_keys * num_kv_heads * head_dim)
    if written is not out:
        out.copy_(written)


def pages_per_split(longest: int, num_lists: int, *, page_size: int, num_splits: int) -> int:
    """Pages of one split, from the number of splits asked for the longest list, or chosen for 0."""
    if num_splits == 0:
        longest_tokens = longest * page_size
        wanted = math.ceil(ITEMS_PER_THREAD * torch.get_num_threads() / num_lists)
        fewest, most = math.ceil(longest_tokens / MAX_SPLIT_TOKENS), longest_tokens // MIN_SPLIT_TOKENS
        num_splits = max(1, fewest, min(wanted, most))
    return math.ceil(longest / min(num_splits, longest))
