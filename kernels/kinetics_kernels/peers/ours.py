"""This package's own kernels, called through its public functions as a user would."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os

import torch

from kinetics_kernels import api
from kinetics_kernels.providers import BLOCK_TOPK, DENSE, DecodeRequest, PreparedDecode, ProviderCase

_DTYPES = {"cpu": ("float32",), "cuda": ("bfloat16", "float16")}


class Ours:
    """The `cpu` backend on a CPU, the `gpu` backend on CUDA."""

    name = "ours"
    operations = (DENSE, BLOCK_TOPK)

    def version(self) -> str:
        """Version of this package."""
        return importlib.metadata.version("kinetics-bench")

    def unavailable_reason(self, device_type: str) -> str | None:
        """None on a CPU, and on CUDA with a triton that compiles."""
        if device_type == "cuda" and importlib.util.find_spec("triton") is None:
            return "triton is not installed; pip install triton"
        if device_type == "cuda" and os.environ.get("TRITON_INTERPRET") == "1":
            return "TRITON_INTERPRET=1 would time the interpreter, not the kernels; unset it"
        return None if device_type in _DTYPES else f"no kernels for {device_type}"

    def supports(self, case: ProviderCase) -> tuple[bool, str]:
        """Every shape that `DecodeShape` admits, in the dtypes of the backend."""
        allowed = _DTYPES.get(case.device_type, ())
        return case.dtype in allowed, f"dtype on {case.device_type} must be one of {', '.join(allowed)}"

    def prepared_bytes(self, case: ProviderCase, element_bytes: int) -> int:  # noqa: ARG002 - the protocol asks
        """Nothing worth counting: the output and the partial results of the splits."""
        return 0

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the inputs, and an output that every call fills anew."""
        return _prepare_sparse(request) if request.selection else _prepare_dense(request)


def _prepare_dense(request: DecodeRequest) -> PreparedDecode:
    inputs = request.inputs
    out = torch.empty_like(inputs.q)

    def run() -> torch.Tensor:
        api.paged_decode(inputs.q, inputs.k_cache, inputs.v_cache, inputs.block_table, inputs.seq_lens, out=out)
        return out

    return PreparedDecode(run=run)


def _prepare_sparse(request: DecodeRequest) -> PreparedDecode:
    inputs, summary, selection = request.inputs, request.page_summary, request.selection
    assert summary is not None
    assert selection is not None
    out = torch.empty_like(inputs.q)

    def run() -> torch.Tensor:
        api.block_topk_decode(
            inputs.q,
            inputs.k_cache,
            inputs.v_cache,
            summary,
            inputs.block_table,
            inputs.seq_lens,
            selection=selection,
            out=out,
        )
        return out

    def page_indices() -> torch.Tensor:
        page_size = inputs.shape.page_size
        scores = api.score_pages(inputs.q, summary, inputs.block_table, inputs.seq_lens, page_size=page_size)
        return api.select_pages(
            scores,
            inputs.block_table,
            inputs.seq_lens,
            page_size=page_size,
            num_pages=selection.num_pages,
            num_sink_pages=selection.num_sink_pages,
            num_local_pages=selection.num_local_pages,
        )

    return PreparedDecode(run=run, page_indices=page_indices)


PROVIDER = Ours()
