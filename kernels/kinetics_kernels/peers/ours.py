"""This package's own kernels, called through its public functions as a user would."""

from __future__ import annotations

import importlib.util
import os

import torch

from kinetics_kernels import api
from kinetics_kernels.dtypes import MEASURED_DTYPES
from kinetics_kernels.peer_kinds.installed import installed_version
from kinetics_kernels.providers import BLOCK_TOPK, DENSE, DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.unavailable import Unavailable


class Ours:
    """The `cpu` backend on a CPU, the `gpu` backend on CUDA."""

    name = "ours"
    distribution = "kinetics-bench"
    operations = (DENSE, BLOCK_TOPK)

    def version(self) -> str:
        """Version of this package; of a tree that nobody has installed there is none to ask."""
        return installed_version(self.distribution) or "not installed"

    def unavailable_on(self, device_type: str) -> Unavailable | None:
        """None on a CPU, and on CUDA with a triton that compiles."""
        if device_type not in MEASURED_DTYPES:
            return Unavailable(f"no kernels for {device_type}")
        if device_type == "cuda" and importlib.util.find_spec("triton") is None:
            return Unavailable("triton is not installed; pip install triton")
        if device_type == "cuda" and os.environ.get("TRITON_INTERPRET") == "1":
            return Unavailable("TRITON_INTERPRET=1 would time the interpreter, not the kernels; unset it")
        return None

    def unavailable_for(self, case: ProviderCase) -> Unavailable | None:
        """Every shape that `DecodeShape` admits, in the dtypes of the backend."""
        allowed = MEASURED_DTYPES.get(case.device_type, ())
        if case.dtype in allowed:
            return None
        return Unavailable(f"dtype on {case.device_type} must be one of {', '.join(allowed)}, got {case.dtype}")

    def prepared_bytes(self, case: ProviderCase) -> int:  # noqa: ARG002 - the protocol asks
        """Nothing worth counting: the output and the partial results of the splits."""
        return 0

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the inputs, and an output that every call fills anew."""
        return _prepare_sparse(request) if request.selection else _prepare_dense(request)


def _prepare_dense(request: DecodeRequest) -> PreparedDecode:
    inputs = request.inputs
    out, last = torch.empty_like(inputs.q), _LastLse()

    def run() -> torch.Tensor:
        return last.keep(api.paged_decode_with_lse(inputs.q, inputs.cache, out=out))

    return PreparedDecode(run=run, lse=last)


def _prepare_sparse(request: DecodeRequest) -> PreparedDecode:
    inputs, summary, selection = request.inputs, request.page_summary, request.selection
    assert summary is not None
    assert selection is not None
    out, last = torch.empty_like(inputs.q), _LastLse()

    def run() -> torch.Tensor:
        return last.keep(api.block_topk_decode_with_lse(inputs.q, inputs.cache, summary, selection=selection, out=out))

    def page_indices() -> torch.Tensor:
        scores = api.score_pages(inputs.q, inputs.cache, summary)
        return api.select_pages(scores, inputs.cache, selection=selection)

    return PreparedDecode(run=run, page_indices=page_indices, lse=last)


class _LastLse:
    """The LSE of the last call; the timed calls are those that write it, so that what is proved is what is timed."""

    def __init__(self) -> None:
        self._lse: torch.Tensor | None = None

    def keep(self, result: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The output of a call whose LSE is kept."""
        out, self._lse = result
        return out

    def __call__(self) -> torch.Tensor:
        assert self._lse is not None, "the LSE is that of a call"
        return self._lse


PROVIDER = Ours()
