"""FlashInfer's batch decode over the paged cache.

It plans on the host from the lengths: that waits for the device, happens once a step, and is timed apart.
"""

from __future__ import annotations

import importlib

import torch

from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.providers import DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.shapes import num_pages_for
from kinetics_kernels.testing import DecodeInputs

INSTALL_HINT = (
    "pip install 'flashinfer-python[cu13]==0.6.14' for a torch with CUDA 13, [cu12] for CUDA 12; nvcc and ninja build "
    "its kernels on first use, or scripts/build_flashinfer.py ahead, where there need be no GPU"
)
WORKSPACE_BYTES = 128 * 2**20
MIN_TENSOR_CORE_GROUP = 4
"""Below this, its CUDA-core kernel; its documentation advises tensor cores for large groups."""


class FlashInfer(GpuPeer):
    """`BatchDecodeWithPagedKVCacheWrapper`."""

    name = "flashinfer"
    distribution = "flashinfer-python"
    install_hint = INSTALL_HINT

    def __init__(self) -> None:
        self._resolved_backend = "unplanned"

    def version(self) -> str:
        """Version of the package, and the backend its last plan chose."""
        return f"{super().version()} ({self._resolved_backend})"

    def prepared_bytes(self, case: ProviderCase) -> int:  # noqa: ARG002 - the protocol asks
        """Its workspace."""
        return WORKSPACE_BYTES

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Plan once, for these lengths."""
        inputs = request.inputs
        uses_tensor_cores = inputs.shape.group_size >= MIN_TENSOR_CORE_GROUP
        workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=inputs.q.device)
        wrapper = importlib.import_module("flashinfer").BatchDecodeWithPagedKVCacheWrapper(
            workspace, "NHD", use_tensor_cores=uses_tensor_cores
        )
        indptr, indices, last_page_len = csr_pages(inputs)

        def plan() -> None:
            wrapper.plan(
                indptr,
                indices,
                last_page_len,
                inputs.shape.num_q_heads,
                inputs.shape.num_kv_heads,
                inputs.shape.head_dim,
                inputs.shape.page_size,
                q_data_type=inputs.q.dtype,
                kv_data_type=inputs.k_cache.dtype,
                sm_scale=inputs.shape.head_dim**-0.5,
            )

        plan()
        cores = "tensor cores" if uses_tensor_cores else "cuda cores"
        self._resolved_backend = f"{getattr(wrapper, '_backend', 'unknown backend')}, {cores}"

        def run() -> torch.Tensor:
            out: torch.Tensor = wrapper.run(inputs.q, (inputs.k_cache, inputs.v_cache))
            return out

        return PreparedDecode(run=run, plan=plan)


def csr_pages(inputs: DecodeInputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The block table as FlashInfer wants it: page ids one after the other, where each request starts, last fill."""
    page_size, device = inputs.shape.page_size, inputs.q.device
    num_pages = [num_pages_for(length, page_size) for length in inputs.seq_lens.tolist()]
    indptr = torch.tensor([0, *num_pages], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)
    indices = torch.cat([inputs.block_table[request, :count] for request, count in enumerate(num_pages)])
    return indptr, indices, ((inputs.seq_lens - 1) % page_size + 1).to(torch.int32)


PROVIDER = FlashInfer()
