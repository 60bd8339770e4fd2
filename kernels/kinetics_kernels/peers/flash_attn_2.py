"""FlashAttention 2 over a paged cache: ours where its pages are large enough, else in pages of its own."""

from __future__ import annotations

import importlib

import torch

from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.peer_kinds.own_pages import own_pages, own_pages_bytes
from kinetics_kernels.providers import DecodeRequest, PreparedDecode, ProviderCase

PAGE_MULTIPLE = 256
"""Its pages hold a multiple of this many tokens."""


class FlashAttn2(GpuPeer):
    """`flash_attn_with_kvcache` with a block table."""

    name = "flash_attn_2"
    distribution = "flash-attn"
    install_hint = (
        "take the wheel for your Python, torch and CUDA 12 from github.com/Dao-AILab/flash-attention/releases; "
        "without one pip builds for an hour"
    )

    def version(self) -> str:
        """Version of the package, and in which pages it reads those that are too small for it."""
        return f"{super().version()} (own pages of {PAGE_MULTIPLE} unless they are given)"

    def prepared_bytes(self, case: ProviderCase) -> int:
        """A copy in pages of its own."""
        return 0 if _fits(case.shape.page_size) else own_pages_bytes(case, PAGE_MULTIPLE)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the pages."""
        flash_attn_with_kvcache = importlib.import_module("flash_attn").flash_attn_with_kvcache
        inputs = request.inputs
        own = None if _fits(inputs.shape.page_size) else own_pages(inputs, PAGE_MULTIPLE)
        pages = own or inputs

        def run() -> torch.Tensor:
            out: torch.Tensor = flash_attn_with_kvcache(
                inputs.q[:, None],
                pages.k_cache,
                pages.v_cache,
                cache_seqlens=inputs.seq_lens,
                block_table=pages.block_table,
                softmax_scale=inputs.shape.head_dim**-0.5,
            )
            return out[:, 0]

        return PreparedDecode(run=run, refresh=own.refresh if own else None)


def _fits(page_size: int) -> bool:
    return page_size % PAGE_MULTIPLE == 0


PROVIDER = FlashAttn2()
