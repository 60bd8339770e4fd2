"""Frozen samples of measured rows, as the fits see them.

Source: aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), H200. `silicon_h200_vllm.csv`: vLLM 0.24.0, FA3 decode
attention and the modules of DeepSeek V3 (dense latents) and V3.2 (DSA) with 128 heads, bf16 weights and cache.
`silicon/`: a file an operation with the columns of the package's table, rows of one kernel drawn at random: vLLM
0.24.0, but DSA's parts of SGLang 0.5.14, KDA of SGLang 0.5.16, Mamba-2 of TensorRT-LLM 1.3.0rc20, and all-reduce of
vLLM 0.19.0 as well.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from kinetics.prediction.measured_files import read_measured_file
from kinetics.prediction.silicon_cases import Cases, attention_cases, latent_cases
from kinetics.prediction.silicon_package import Kernel, Measured
from kinetics.specs.attention_layers import GroupedQueryAttention
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.known_models import find_architecture
from kinetics.specs.latent_layers import LatentAttention
from kinetics.specs.weight_formats import BF16

SAMPLE = Path(__file__).parents[1] / "data" / "silicon_h200_vllm.csv"
SAMPLES = SAMPLE.parent / "silicon"
_MODELS = {"mla": "DeepSeek-V3", "dsa": "DeepSeek-V3.2"}


def frozen_rows(operation: str, system: str = "h200_sxm") -> Measured:
    """Rows of `attention`, `mla` or `dsa`, as if measured on `system`."""
    with SAMPLE.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["operation"] == operation]
    rows.sort(key=lambda row: [int(row[name]) for name in ("batch", "context_len", "heads", "kv_heads")])
    columns = {
        name: np.array([float(row[name]) for row in rows]) for name in ("batch", "context_len", "heads", "kv_heads")
    }
    seconds = np.array([float(row["latency_ms"]) for row in rows]) * 1e-3
    kernel = Kernel(system=system, framework="vllm", version="0.24.0", name="frozen")
    return Measured(kernel=kernel, cases=_cases(operation, columns), seconds=seconds)


def _cases(operation: str, columns: dict[str, np.ndarray]) -> Cases:
    cache = find_cache_format("bf16")
    if operation == "attention":
        one = GroupedQueryAttention(num_q_heads=8, num_kv_heads=1, head_dim=128, value_dim=128)
        cases = attention_cases(one, cache, batch=columns["batch"], context_len=columns["context_len"])
        heads = {"q_heads": columns["heads"], "kv_heads": columns["kv_heads"]}
        return replace(cases, columns={**cases.columns, **heads})
    architecture = find_architecture(_MODELS[operation])
    mixer = next(mixer for _, mixer in architecture.mixers() if isinstance(mixer, LatentAttention))
    return latent_cases(
        mixer,
        cache,
        BF16,
        hidden_size=architecture.hidden_size,
        batch=columns["batch"],
        context_len=columns["context_len"],
    )


def sample_rows(operation: str) -> list[Measured]:
    """The groups of an operation's sample."""
    return read_measured_file(SAMPLES / f"{operation}.csv", operation=operation, min_context=0)
