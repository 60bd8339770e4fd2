"""Tables in the layout of the package of measured latencies, made so that where sparse pays is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BATCHES = (1, 4, 16, 64)
CONTEXTS = tuple(2**power for power in range(8, 18))

Rows = Iterator[dict[str, Any]]


def write_pair_tables(folder: Path, *, pays_from: Callable[[int], float]) -> Path:
    """Modules of DeepSeek V3 and V3.2 on an H200 by vLLM: sparse takes 1 ms, dense as long at `pays_from(batch)`.

    Both were measured in bf16 weights too, where sparse pays nowhere; and with 16 heads, in an eighth of the time.
    Dense contexts count the new token, as some tables do.
    """
    dense, sparse = (
        folder / "data/h200_sxm" / name
        for name in (
            "mla/vllm/0.24.0/mla_generation_module_perf.parquet",
            "sparse_attention/vllm/0.24.0/dsa_generation_module_perf.parquet",
        )
    )
    _write(dense, _modules("deepseek-ai/DeepSeek-V3", lambda batch, context: context / pays_from(batch), new_tokens=1))
    _write(sparse, _modules("deepseek-ai/DeepSeek-V3.2", lambda batch, context: 1.0, bf16_factor=1e4))
    return folder


def write_msa_tables(folder: Path) -> Path:
    """MiniMax M3's attention on an H200 by SGLang: dense in `msa_dense_ms` by 0.5.14, sparse in 1 ms by 0.5.16."""
    dense, sparse = (
        folder / "data/h200_sxm" / name
        for name in (
            "attention/sglang/0.5.14/generation_attention_perf.parquet",
            "msa/sglang/0.5.16/msa_generation_module_perf.parquet",
        )
    )
    heads = {"num_key_value_heads": 4, "head_dim": 128, "window_size": 0}
    _write(
        dense,
        (row | heads | {"latency": msa_dense_ms(row["batch_size"], row["isl"] + row["step"])} for row in _cells(64)),
    )
    _write(sparse, (row | {"gemm_type": "bfloat16", "latency": 1.0} for row in _cells(64)))
    return folder


def msa_dense_ms(batch: int, context_len: int) -> float:
    """A launch, and keys and values of 4 heads of 128 in bf16 at 4 TB/s."""
    return 0.02 + batch * context_len * 2 * 4 * 128 * 2 / 4e9


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a table's columns."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra: silicon)")
    parquet.write_table(change(parquet.read_table(path)), path)


def _modules(
    model: str, milliseconds: Callable[[int, int], float], *, new_tokens: int = 0, bf16_factor: float = 1.0
) -> Rows:
    for weights, factor in (("bfloat16", bf16_factor), ("fp8_block", 1.0)):
        for heads, scale in ((128, factor), (16, 0.125 * factor)):
            for row in _cells(heads, new_tokens):
                latency = milliseconds(row["batch_size"], row["isl"] + row["step"] - new_tokens) * scale
                yield row | {"model": model, "gemm_type": weights, "latency": latency}


def _cells(heads: int, new_tokens: int = 0) -> Rows:
    for batch in BATCHES:
        for context in CONTEXTS:
            sizes = {"num_heads": heads, "batch_size": batch, "isl": 1, "step": context - 1 + new_tokens}
            yield {"kernel_source": "made", "kv_cache_dtype": "bfloat16"} | sizes


def _write(path: Path, rows: Rows) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: silicon)")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra: silicon)")
    path.parent.mkdir(parents=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
