"""torch's varlen_attn over the paged cache, where this torch's signature takes a block table."""

from __future__ import annotations

import inspect

import torch

from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.providers import DecodeRequest, PreparedDecode
from kinetics_kernels.unavailable import Unavailable

NEEDED = ("block_table", "seqused_k", "enable_gqa", "scale")


class VarlenAttn(GpuPeer):
    """FlashAttention as torch ships it, reading pages."""

    name = "varlen_attn"
    distribution = "torch"
    install_hint = "pip install 'torch>=2.13'"

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
        cu_seq_q = torch.arange(inputs.shape.batch + 1, dtype=torch.int32, device=inputs.q.device)

        def run() -> torch.Tensor:
            out = varlen_attn(
                inputs.q,
                inputs.k_cache,
                inputs.v_cache,
                cu_seq_q,
                None,
                1,
                inputs.shape.context_len,
                scale=inputs.shape.head_dim**-0.5,
                enable_gqa=True,
                seqused_k=inputs.seq_lens,
                block_table=inputs.block_table,
            )
            assert isinstance(out, torch.Tensor), "the LSE is returned on request alone"
            return out

        return PreparedDecode(run=run)


def _missing_parameters() -> list[str]:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return ["paged cache: it has no varlen_attn"]
    taken = inspect.signature(varlen_attn).parameters
    return [name for name in NEEDED if name not in taken]


PROVIDER = VarlenAttn()
