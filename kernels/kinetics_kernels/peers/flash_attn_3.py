"""FlashAttention 3: from the wheel fa3-fwd over a contiguous cache, or from a build of its own over the pages."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.peer_kinds.installed import installed_version
from kinetics_kernels.peer_kinds.own_pages import own_pages, own_pages_bytes
from kinetics_kernels.providers import DecodeRequest, PreparedDecode, ProviderCase

WHEEL, BUILD = "fa3-fwd", "flash_attn_3"
CHOOSE_SPLITS = 0


class FlashAttn3(GpuPeer):
    """`flash_attn_with_kvcache` of the Hopper package.

    The wheel was built without pages: it gets a contiguous cache for free, which is what it is fastest on.
    """

    name = "flash_attn_3"
    install_hint = (
        f"pip install --no-deps {WHEEL}==0.0.3 einops (was imported under torch 2.11 with CUDA 13.0); or build the "
        "hopper folder of github.com/Dao-AILab/flash-attention for your torch (an hour)"
    )
    min_capability = (9, 0)
    max_capability = (9, 0)

    @property
    def distribution(self) -> str:  # type: ignore[override]
        """The build where there is one, else the wheel."""
        return BUILD if installed_version(BUILD) is not None else WHEEL

    def version(self) -> str:
        """Version of the package, and how it gets its cache."""
        return f"{super().version()} ({'pages' if self.distribution == BUILD else 'contiguous cache'})"

    def prepared_bytes(self, case: ProviderCase) -> int:
        """The contiguous copy, if it reads one."""
        return 0 if self.distribution == BUILD else own_pages_bytes(case, case.shape.context_len)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the pages, or a page a request."""
        inputs = request.inputs
        is_build = self.distribution == BUILD
        module = importlib.import_module("flash_attn_interface" if is_build else "fa3_fwd_interface")
        own = None if is_build else own_pages(inputs, inputs.shape.context_len)
        cache = own or inputs
        table: dict[str, Any] = {} if own else {"page_table": inputs.block_table}

        def run() -> torch.Tensor:
            out: torch.Tensor = module.flash_attn_with_kvcache(
                inputs.q[:, None],
                cache.k_cache,
                cache.v_cache,
                cache_seqlens=inputs.seq_lens,
                softmax_scale=inputs.shape.head_dim**-0.5,
                num_splits=CHOOSE_SPLITS,
                **table,
            )
            return out[:, 0]

        return PreparedDecode(run=run, refresh=own.refresh if own else None)


PROVIDER = FlashAttn3()
