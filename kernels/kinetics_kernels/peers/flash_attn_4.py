"""FlashAttention 4, written in CuTe DSL and built on first use, over the paged cache."""

from __future__ import annotations

import importlib

import torch

from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.providers import DecodeRequest, PreparedDecode

CHOOSE_SPLITS, ONE_SPLIT = 0, 1


class FlashAttn4(GpuPeer):
    """`flash_attn_varlen_func` with a page table."""

    name = "flash_attn_4"
    distribution = "flash-attn-4"
    install_hint = "pip install --pre flash-attn-4, with nvidia-cutlass-dsl for the CUDA of your torch"
    min_capability = (9, 0)
    max_capability = (11, 9)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the pages; the query is one token per request."""
        flash_attn_varlen_func = importlib.import_module("flash_attn.cute").flash_attn_varlen_func
        inputs = request.inputs
        cu_seqlens_q = torch.arange(inputs.shape.batch + 1, dtype=torch.int32, device=inputs.q.device)
        # Its Hopper kernel does not split.
        is_hopper = inputs.q.is_cuda and torch.cuda.get_device_capability()[0] == 9

        def run() -> torch.Tensor:
            result = flash_attn_varlen_func(
                inputs.q,
                inputs.k_cache,
                inputs.v_cache,
                cu_seqlens_q=cu_seqlens_q,
                max_seqlen_q=1,
                max_seqlen_k=inputs.shape.context_len,
                seqused_k=inputs.seq_lens,
                page_table=inputs.block_table,
                softmax_scale=inputs.shape.head_dim**-0.5,
                num_splits=ONE_SPLIT if is_hopper else CHOOSE_SPLITS,
            )
            out: torch.Tensor = result[0] if isinstance(result, tuple) else result
            return out

        return PreparedDecode(run=run)


PROVIDER = FlashAttn4()
