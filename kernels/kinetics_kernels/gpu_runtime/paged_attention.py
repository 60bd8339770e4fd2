"""One decode attention call on a GPU: how its tensors become launches.

This file knows shapes, strides and plans. The arithmetic is next door; which tokens a page table names is the caller's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton

from kinetics_kernels.gpu_runtime.configs import (
    DecodeConfig,
    GpuConfig,
    LaunchVariant,
    converts_e4m3,
    decode_config,
    gpu_config,
    launch_variant,
)
from kinetics_kernels.gpu_runtime.counters import zero_counters
from kinetics_kernels.gpu_runtime.device import GpuDevice, gpu_device_of
from kinetics_kernels.gpu_runtime.e4m3 import e4m3_operand
from kinetics_kernels.gpu_runtime.merged_decode import merged_decode_kernel
from kinetics_kernels.gpu_runtime.overlap import overlap_options
from kinetics_kernels.gpu_runtime.split_decode import merge_splits_kernel, split_decode_kernel
from kinetics_kernels.gpu_runtime.split_rule import SplitPlan, explicit_plan, plan_splits
from kinetics_kernels.shapes import PagedCache

QUERY_TILE_ROWS = 16
"""Rows of the smallest tensor-core tile; rows past the group are masked."""

COUNT_BLOCKS = (64, 1024)
"""Fewest and most entries of a page list, or lengths of a batch, that a program sums at a time."""

LEAST_MERGE_SPLITS = 16
"""Fewer splits are merged by the code for so many: compiling costs more than their masked loads."""

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
    device = gpu_device_of(attention.q)
    config = gpu_config(device.arch)
    attend_as_planned(
        attention,
        plan=plan_for(attention, device, config, num_splits=num_splits),
        config=_decode_config(attention, config),
        variant=launch_variant(device.arch),
        out=out,
        lse=lse,
    )


def attend_as_planned(
    attention: PagedAttention,
    *,
    plan: SplitPlan,
    config: DecodeConfig,
    variant: LaunchVariant,
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Launch the split kernel and, for more than one split, the merge; or both in one."""
    batch, num_q_heads, head_dim = attention.q.shape
    shape = (batch, num_q_heads, plan.num_splits)
    if plan.num_splits == 1:
        direct_lse = None if lse is None else lse[:, :, None]
        launch_splits(attention, plan=plan, config=config, variant=variant, out=out[..., None], lse=direct_lse)
        return
    partial_out = attention.q.new_empty((*shape, head_dim), dtype=torch.float32)
    partial_lse = attention.q.new_empty(shape, dtype=torch.float32)
    if variant.merges_in_place:
        partials = (partial_out, partial_lse)
        launch_merged(attention, plan=plan, config=config, variant=variant, partials=partials, out=out, lse=lse)
        return
    split_last = partial_out.transpose(2, 3)
    launch_splits(attention, plan=plan, config=config, variant=variant, out=split_last, lse=partial_lse)
    launch_merge(partial_out, partial_lse, variant=variant, out=out, lse=lse)


def plan_for(attention: PagedAttention, device: GpuDevice, config: GpuConfig, *, num_splits: int) -> SplitPlan:
    """The caller's split count, or for 0 the rule's, from shapes and the device alone.

    Raises: ValueError if num_splits is more than the merge holds.
    """
    if num_splits:
        return explicit_plan(num_splits)
    is_page_list = attention.is_page_list
    return plan_splits(
        batch=attention.q.shape[0],
        num_kv_heads=attention.cache.num_kv_heads,
        capacity_tokens=attention.page_table.shape[2] * attention.cache.page_size,
        num_slots=device.num_multiprocessors * config.programs_per_multiprocessor,
        min_split_tokens=config.min_sparse_split_tokens if is_page_list else config.min_dense_split_tokens,
        tile_tokens=_decode_config(attention, config).tile_tokens,
        is_ragged=not is_page_list,
    )


def launch_splits(
    attention: PagedAttention,
    *,
    plan: SplitPlan,
    config: DecodeConfig,
    variant: LaunchVariant,
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Attend split by split into `out` [batch, num_q_heads, head_dim, splits] and `lse` [batch, num_q_heads, splits].

    With one split these are the final outputs; with more, float32 partials and base-2 LSEs for `launch_merge`.
    """
    split_decode_kernel[(attention.cache.num_kv_heads, plan.num_splits, attention.q.shape[0])](
        *_inputs(attention),
        out,
        lse,
        *_input_strides(attention),
        out.stride(),
        (0, 0, 0) if lse is None else lse.stride(),
        *_numbers(attention, plan),
        IS_PARTIAL=plan.num_splits > 1,
        **_constants(attention, plan, config),
        **_options(config, variant),
    )


def launch_merge(
    partial_out: torch.Tensor,
    partial_lse: torch.Tensor,
    *,
    variant: LaunchVariant,
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Merge contiguous partials into `out` [batch, num_q_heads, head_dim] and `lse` [batch, num_q_heads]."""
    batch, num_q_heads, num_splits, head_dim = partial_out.shape
    merge_splits_kernel[(num_q_heads, batch)](
        partial_out,
        partial_lse,
        out,
        lse,
        num_splits,
        out.stride(),
        (0, 0) if lse is None else lse.stride(),
        HEAD_DIM=head_dim,
        BLOCK_SPLITS=_merge_block(num_splits),
        IS_OVERLAPPED=variant.is_overlapped,
        num_warps=4,
        **overlap_options(is_overlapped=variant.is_overlapped),
    )


def launch_merged(
    attention: PagedAttention,
    *,
    plan: SplitPlan,
    config: DecodeConfig,
    variant: LaunchVariant,
    partials: tuple[torch.Tensor, torch.Tensor],
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Attend split by split and merge in the same launch; `partials` is room for as many rows as the splits have."""
    batch, num_kv_heads = attention.q.shape[0], attention.cache.num_kv_heads
    merged_decode_kernel[(num_kv_heads, plan.num_splits, batch)](
        *_inputs(attention),
        out,
        lse,
        *partials,
        zero_counters(batch * num_kv_heads, attention.q.device),
        *_input_strides(attention),
        out.stride(),
        (0, 0) if lse is None else lse.stride(),
        *_numbers(attention, plan),
        BLOCK_SPLITS=_merge_block(plan.num_splits),
        **_constants(attention, plan, config),
        **_options(config, variant),
    )


def _inputs(attention: PagedAttention) -> tuple[torch.Tensor | None, ...]:
    cache, is_native = attention.cache, converts_e4m3(attention.q)
    return (
        attention.q,
        e4m3_operand(cache.k_cache, is_native=is_native),
        e4m3_operand(cache.v_cache, is_native=is_native),
        cache.k_scale,
        cache.v_scale,
        attention.page_table,
        cache.seq_lens,
    )


def _input_strides(attention: PagedAttention) -> tuple[Any, ...]:
    cache = attention.cache
    return (
        attention.q.stride(),
        cache.k_cache.stride(),
        cache.v_cache.stride(),
        (0, 0) if cache.k_scale is None else cache.k_scale.stride(),
        attention.page_table.stride(),
        cache.seq_lens.stride(0),
    )


def _numbers(attention: PagedAttention, plan: SplitPlan) -> tuple[float, ...]:
    batch, num_q_heads, _ = attention.q.shape
    return (
        attention.softmax_scale * LOG2_E,
        batch,
        attention.page_table.shape[2],
        plan.programs_per_head or 1,
        num_q_heads // attention.cache.num_kv_heads,
    )


def _constants(attention: PagedAttention, plan: SplitPlan, config: DecodeConfig) -> dict[str, Any]:
    cache, is_balanced = attention.cache, plan.programs_per_head is not None
    counted = attention.page_table.shape[2] if attention.is_page_list else attention.q.shape[0] if is_balanced else 1
    fewest, most = COUNT_BLOCKS
    return {
        "HEAD_DIM": cache.head_dim,
        "PAGE_SIZE": cache.page_size,
        "TILE_TOKENS": config.tile_tokens,
        "QUERY_ROWS": QUERY_TILE_ROWS,
        "MIN_SPLIT_TOKENS": plan.min_split_tokens,
        "COUNT_BLOCK": min(most, max(fewest, triton.next_power_of_2(counted))),
        "IS_PAGE_LIST": attention.is_page_list,
        "IS_BALANCED": is_balanced,
        "IS_ONE_LAYOUT": cache.k_cache.stride() == cache.v_cache.stride(),
        "IS_NATIVE": cache.k_scale is None or converts_e4m3(attention.q),
    }


def _options(config: DecodeConfig, variant: LaunchVariant) -> dict[str, Any]:
    return {
        "IS_OVERLAPPED": variant.is_overlapped,
        "num_warps": config.num_warps,
        "num_stages": config.num_stages,
        # AMD's compiler knows no such option.
        **({} if config.max_registers is None else {"maxnreg": config.max_registers}),
        **overlap_options(is_overlapped=variant.is_overlapped),
    }


def _decode_config(attention: PagedAttention, config: GpuConfig) -> DecodeConfig:
    return decode_config(config, is_page_list=attention.is_page_list, is_narrow=attention.cache.is_narrow)


def _merge_block(num_splits: int) -> int:
    return max(LEAST_MERGE_SPLITS, int(triton.next_power_of_2(num_splits)))
