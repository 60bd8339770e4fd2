"""One decode attention call on a GPU: how its tensors become the launches of `split_decode`.

This file knows shapes, strides and plans. The arithmetic is next door; which tokens a page table names is the caller's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton

from kinetics_kernels.gpu_runtime.configs import DecodeConfig, gpu_config
from kinetics_kernels.gpu_runtime.device import gpu_device_of
from kinetics_kernels.gpu_runtime.split_decode import merge_splits_kernel, split_decode_kernel
from kinetics_kernels.gpu_runtime.split_rule import SplitPlan, explicit_plan, plan_splits
from kinetics_kernels.shapes import PagedCache

QUERY_TILE_ROWS = 16
"""Rows of the smallest tensor-core tile; rows past the group are masked."""

MAX_COUNT_BLOCK = 1024
"""Entries of a page list, or lengths of a batch, that a program sums at a time."""

LOG2_E = math.log2(math.e)


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedAttention:
    """The tensors of one decode attention call.

    `page_table`: [batch, num_kv_heads, pages], its head stride 0 on the dense path; `is_page_list` says that rows
    end in a tail of -1 and that only what they list is attended.
    """

    q: torch.Tensor
    cache: PagedCache
    page_table: torch.Tensor
    softmax_scale: float
    is_page_list: bool


def attend(attention: PagedAttention, *, num_splits: int, out: torch.Tensor, lse: torch.Tensor | None) -> None:
    """Attend with the table's configuration and the caller's split count, or for 0 the rule's.

    Raises: ValueError if num_splits is more than the merge holds.
    """
    config = gpu_config(gpu_device_of(attention.q).arch)
    attend_as_planned(
        attention,
        plan=plan_for(attention, num_splits=num_splits),
        config=config.sparse if attention.is_page_list else config.dense,
        out=out,
        lse=lse,
    )


def attend_as_planned(
    attention: PagedAttention, *, plan: SplitPlan, config: DecodeConfig, out: torch.Tensor, lse: torch.Tensor | None
) -> None:
    """Launch the split kernel and, for more than one split, the merge."""
    if plan.num_splits == 1:
        direct_lse = None if lse is None else lse[:, :, None]
        launch_splits(attention, plan=plan, config=config, out=out[:, :, None], lse=direct_lse)
        return
    batch, num_q_heads, head_dim = attention.q.shape
    shape = (batch, num_q_heads, plan.num_splits)
    partial_out = attention.q.new_empty((*shape, head_dim), dtype=torch.float32)
    partial_lse = attention.q.new_empty(shape, dtype=torch.float32)
    launch_splits(attention, plan=plan, config=config, out=partial_out, lse=partial_lse)
    launch_merge(partial_out, partial_lse, out=out, lse=lse)


def plan_for(attention: PagedAttention, *, num_splits: int) -> SplitPlan:
    """The caller's split count, or for 0 the rule's, from shapes and the device alone.

    Raises: ValueError if num_splits is more than the merge holds.
    """
    if num_splits:
        return explicit_plan(num_splits)
    device = gpu_device_of(attention.q)
    config = gpu_config(device.arch)
    is_page_list = attention.is_page_list
    return plan_splits(
        batch=attention.q.shape[0],
        num_kv_heads=attention.cache.num_kv_heads,
        capacity_tokens=attention.page_table.shape[2] * attention.cache.page_size,
        num_slots=device.num_multiprocessors * config.programs_per_multiprocessor,
        min_split_tokens=config.min_sparse_split_tokens if is_page_list else config.min_dense_split_tokens,
        tile_tokens=(config.sparse if is_page_list else config.dense).tile_tokens,
        is_ragged=not is_page_list,
    )


def launch_splits(
    attention: PagedAttention, *, plan: SplitPlan, config: DecodeConfig, out: torch.Tensor, lse: torch.Tensor | None
) -> None:
    """Attend split by split into `out` [batch, num_q_heads, splits, head_dim] and `lse` [batch, num_q_heads, splits].

    With one split these are the final outputs; with more, float32 partials and base-2 LSEs for `launch_merge`.
    """
    q, cache, page_table = attention.q, attention.cache, attention.page_table
    batch, num_q_heads, head_dim = q.shape
    k_strides, v_strides = cache.k_cache.stride(), cache.v_cache.stride()
    counted = page_table.shape[2] if attention.is_page_list else batch
    split_decode_kernel[(cache.num_kv_heads, plan.num_splits, batch)](
        q,
        cache.k_cache,
        cache.v_cache,
        page_table,
        cache.seq_lens,
        out,
        lse,
        *q.stride(),
        *k_strides,
        *v_strides,
        *page_table.stride(),
        *cache.seq_lens.stride(),
        *out.stride(),
        *((0, 0, 0) if lse is None else lse.stride()),
        attention.softmax_scale * LOG2_E,
        batch,
        page_table.shape[2],
        plan.programs_per_head or 1,
        GROUP_SIZE=num_q_heads // cache.num_kv_heads,
        HEAD_DIM=head_dim,
        PAGE_SIZE=cache.page_size,
        TILE_TOKENS=config.tile_tokens,
        QUERY_ROWS=QUERY_TILE_ROWS,
        MIN_SPLIT_TOKENS=plan.min_split_tokens,
        COUNT_BLOCK=min(MAX_COUNT_BLOCK, triton.next_power_of_2(counted)),
        IS_PAGE_LIST=attention.is_page_list,
        IS_BALANCED=plan.programs_per_head is not None,
        IS_PARTIAL=plan.num_splits > 1,
        IS_ONE_LAYOUT=k_strides == v_strides,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        # AMD's compiler knows no such option.
        **({} if config.max_registers is None else {"maxnreg": config.max_registers}),
    )


def launch_merge(
    partial_out: torch.Tensor, partial_lse: torch.Tensor, *, out: torch.Tensor, lse: torch.Tensor | None
) -> None:
    """Merge contiguous partials into `out` [batch, num_q_heads, head_dim] and `lse` [batch, num_q_heads]."""
    batch, num_q_heads, num_splits, head_dim = partial_out.shape
    merge_splits_kernel[(num_q_heads, batch)](
        partial_out,
        partial_lse,
        out,
        lse,
        num_splits,
        *out.stride(),
        *((0, 0) if lse is None else lse.stride()),
        HEAD_DIM=head_dim,
        BLOCK_SPLITS=triton.next_power_of_2(num_splits),
        num_warps=4,
    )
