"""FlashAttention 3 over the paged cache."""

from __future__ import annotations

import importlib

import torch

from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.providers import DecodeRequest, PreparedDecode


class FlashAttn3(GpuPeer):
    """`flash_attn_with_kvcache` of the Hopper package, with a page table."""

    name = "flash_attn_3"
    distribution = "flash_attn_3"
    install_hint = "build the hopper folder of github.com/Dao-AILab/flash-attention with its setup.py (an hour)"
    min_capability = (9, 0)
    max_capability = (9, 0)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the pages."""
        flash_attn_with_kvcache = importlib.import_module("flash_attn_interface").flash_attn_with_kvcache
        inputs = request.inputs

        def run() -> torch.Tensor:
            out: torch.Tensor = flash_attn_with_kvcache(
                inputs.q[:, None],
                inputs.k_cache,
                inputs.v_cache,
                cache_seqlens=inputs.seq_lens,
                page_table=inputs.block_table,
                softmax_scale=inputs.shape.head_dim**-0.5,
            )
            return out[:, 0]

        return PreparedDecode(run=run)


PROVIDER = FlashAttn3()
