"""torch's varlen_attn over a paged cache, where this torch's signature takes a block table.

Like FlashAttention 2, whose kernel it is, it wants pages of 256 tokens; smaller ones are copied into such.
"""

from __future__ import annotations

import inspect

import torch

from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.peer_kinds.own_pages import own_pages, own_pages_bytes
from kinetics_kernels.providers import DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.unavailable import Unavailable

PAGE_MULTIPLE = 256
NEEDED = ("block_table", "seqused_k", "enable_gqa", "scale")


class VarlenAttn(GpuPeer):
    """FlashAttention as torch ships it, reading pages."""

    name = "varlen_attn"
    distribution = "torch"
    install_hint = "pip install 'torch>=2.13', for your CUDA"

    def version(self) -> str:
        """Version of torch, and in which pages it reads those that are too small for it."""
        return f"{super().version()} (own pages of {PAGE_MULTIPLE} unless they are given)"

    def prepared_bytes(self, case: ProviderCase) -> int:
        """A copy in pages of its own."""
        return 0 if case.shape.page_size % PAGE_MULTIPLE == 0 else own_pages_bytes(case, PAGE_MULTIPLE)

    def unavailable_on(self, device_type: str) -> Unavailable | None:
        """What the signature lacks in this torch, once there is a device to ask for: older ones have no block table."""
        if device_type == "cuda" and (missing := _missing_parameters()):
            lacks = f"varlen_attn of torch {torch.__version__} takes no {', '.join(missing)}"
            return Unavailable(f"{lacks}: {self.install_hint}")
        return super().unavailable_on(device_type)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the pages; the query is one token per request."""
        from torch.nn.attention.varlen import varlen_attn

        inputs = request.inputs
        own = None if inputs.shape.page_size % PAGE_MULTIPLE == 0 else own_pages(inputs, PAGE_MULTIPLE)
        pages = own or inputs
        cu_seq_q = torch.arange(inputs.shape.batch + 1, dtype=torch.int32, device=inputs.q.device)

        def run() -> torch.Tensor:
            out = varlen_attn(
                inputs.q,
                pages.k_cache,
                pages.v_cache,
                cu_seq_q,
                None,
                1,
                inputs.shape.context_len,
                scale=inputs.shape.head_dim**-0.5,
                enable_gqa=True,
                seqused_k=inputs.seq_lens,
                block_table=pages.block_table,
            )
            assert isinstance(out, torch.Tensor), "the LSE is returned on request alone"
            return out

        return PreparedDecode(run=run, refresh=own.refresh if own else None)


def _missing_parameters() -> list[str]:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return ["paged cache: it has no varlen_attn"]
    taken = inspect.signature(varlen_attn).parameters
    return [name for name in NEEDED if name not in taken]


PROVIDER = VarlenAttn()
