"""Where the GPU kernels run while they are tested: on a device in bf16, or in Triton's interpreter in fp16 and fp32.

The interpreter's bf16 dot returns garbage, so bf16 is tested on a device alone.
"""

from __future__ import annotations

import os

import pytest
import torch

from kinetics_kernels.shapes import PagedCache

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if IS_INTERPRETED or not torch.cuda.is_available() else "cuda"
DTYPES = [torch.float16, torch.float32] if DEVICE == "cpu" else [torch.bfloat16]


def tables_alone(block_table: torch.Tensor, seq_lens: torch.Tensor, *, page_size: int = 16) -> PagedCache:
    """A cache of which only the tables are real, for selection, which reads nothing else; two KV heads."""
    num_pages = int(block_table.max()) + 1
    keys = torch.zeros(1, device=block_table.device).expand(num_pages, page_size, 2, 64)
    return PagedCache(k_cache=keys, v_cache=keys, block_table=block_table, seq_lens=seq_lens)


def skip_module_unless_kernels_run() -> None:
    if DEVICE == "cpu" and not IS_INTERPRETED:
        pytest.skip(
            "no CUDA device here; test_gpu_interpreter.py runs these tests in a process with TRITON_INTERPRET=1",
            allow_module_level=True,
        )


def real_shapes_only_on_a_device(*cases: object) -> list[object]:
    """Cases too large for the interpreter."""
    return list(cases) if DEVICE == "cuda" else []
