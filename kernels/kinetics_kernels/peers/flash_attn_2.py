"""FlashAttention 2 over the paged cache."""

from __future__ import annotations

import importlib

import torch

from kinetics_kernels.peers.gpu_peer import GpuPeer
from kinetics_kernels.providers import DecodeRequest, PreparedDecode, ProviderCase

PAGE_MULTIPLE = 256


class FlashAttn2(GpuPeer):
    """`flash_attn_with_kvcache` with a block table."""

    name = "flash_attn_2"
    distribution = "flash-attn"
    install_hint = "take the wheel for your torch and CUDA from github.com/Dao-AILab/flash-attention/releases"

    def shape_refusal(self, case: ProviderCase) -> str | None:
        """Its pages hold a multiple of 256 tokens."""
        page_size = case.shape.page_size
        return None if page_size % PAGE_MULTIPLE == 0 else f"page_size must be a multiple of 256, got {page_size}"

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the pages."""
        flash_attn_with_kvcache = importlib.import_module("flash_attn").flash_attn_with_kvcache
        inputs = request.inputs

        def run() -> torch.Tensor:
            out: torch.Tensor = flash_attn_with_kvcache(
                inputs.q[:, None],
                inputs.k_cache,
                inputs.v_cache,
                cache_seqlens=inputs.seq_lens,
                block_table=inputs.block_table,
                softmax_scale=inputs.shape.head_dim**-0.5,
            )
            return out[:, 0]

        return PreparedDecode(run=run)


PROVIDER = FlashAttn2()
