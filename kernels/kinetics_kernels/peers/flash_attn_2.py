"""FlashAttention 2 over the paged cache."""

from __future__ import annotations

import importlib

import torch

from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.providers import DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.unavailable import Unavailable

PAGE_MULTIPLE = 256


class FlashAttn2(GpuPeer):
    """`flash_attn_with_kvcache` with a block table."""

    name = "flash_attn_2"
    distribution = "flash-attn"
    install_hint = "take the wheel for your torch and CUDA from github.com/Dao-AILab/flash-attention/releases"

    def unavailable_for_shape(self, case: ProviderCase) -> Unavailable | None:
        """Its pages hold a multiple of 256 tokens."""
        page_size = case.shape.page_size
        if page_size % PAGE_MULTIPLE == 0:
            return None
        return Unavailable(f"page_size must be a multiple of {PAGE_MULTIPLE}, got {page_size}")

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
