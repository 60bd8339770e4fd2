"""Tables in the layout of the package of measured latencies, made so that where sparse pays is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BATCHES = (1, 4, 16, 64)
CONTEXTS = tuple(2**power for power in range(9, 18))


def write_pair_tables(folder: Path, *, pays_from: Callable[[int], float]) -> Path:
    """Modules of DeepSeek V3 and V3.2 on an H200 by vLLM: sparse takes 1 ms, dense as long at `pays_from(batch)`."""
    _write(
        folder / "data/h200_sxm/mla/vllm/0.24.0/mla_generation_module_perf.parquet", "deepseek-ai/DeepSeek-V3",
        lambda batch, context: context / pays_from(batch),
    )  # fmt: skip
    _write(
        folder / "data/h200_sxm/sparse_attention/vllm/0.24.0/dsa_generation_module_perf.parquet",
        "deepseek-ai/DeepSeek-V3.2", lambda batch, context: 1.0,
    )  # fmt: skip
    return folder


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a table's columns."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra: silicon)")
    parquet.write_table(change(parquet.read_table(path)), path)


def _write(path: Path, model: str, milliseconds: Callable[[int, int], float]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: silicon)")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra: silicon)")
    rows = [
        {
            "kernel_source": "made", "kv_cache_dtype": "bfloat16", "gemm_type": "bfloat16", "model": model,
            "num_heads": heads, "batch_size": batch, "isl": 1, "step": context - 1,
            "latency": milliseconds(batch, context) * scale,
        }
        for heads, scale in ((128, 1.0), (16, 0.125))
        for batch in BATCHES
        for context in CONTEXTS
    ]  # fmt: skip
    path.parent.mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
