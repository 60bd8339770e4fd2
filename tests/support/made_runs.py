"""Result files of whole made runs: rows that quotes are made of, on a device that tells all of itself."""

from __future__ import annotations

from typing import Any

from tests.support.result_rows import make_document, make_row

IDENTITY = {
    "kind": "cpu", "name": "Made CPU", "vendor": "AuthenticAMD", "family": 26, "model": 2, "stepping": 1,
    "microarchitecture": "zen5", "l2_bytes": 2**20, "l3_bytes": 2**25, "num_cpus": 2, "num_cores": 2, "cpu_quota": 2.0,
    "num_numa_nodes": 1, "total_memory_bytes": 2**34, "is_virtual": True,
}  # fmt: skip


def make_run(**changes: Any) -> dict[str, Any]:
    """A run that nothing speaks against: dense and sparse attention of ours and of torch, and a miniature's answers."""
    document: dict[str, Any] = make_document(
        [*attention_rows(), *aime_rows()], identity=IDENTITY, slug="cpu-made-zen5-2c"
    )
    document["machine_info"] |= {"device_kind": "cpu", "torch_threads": 2, "num_cpus": 2}
    document["machine_info"]["ceilings"] |= {"cached_read_bytes_per_s": 1e11, "copy_bytes_per_s": 2e10}
    document["commit_info"] = {"id": "0123456789abcdef0123456789abcdef01234567", "dirty": False}
    return document | {"wall_s": 301.4} | changes


def attention_rows() -> list[dict[str, Any]]:
    """Times in the ratio of bytes, ours twice as fast as torch's dense and ten times as fast as its sparse path."""
    rows = []
    for batch in (1, 4):
        for context_len in (1024, 4096, 8192, 32768):
            shape: dict[str, Any] = {"batch": batch, "context_len": context_len, "canary_bytes_per_s": 1.9e10}
            dense_s = 1e-6 * batch * context_len
            rows += [
                make_row(samples=[dense_s] * 9, **shape),
                make_row(provider="torch_sdpa", samples=[2 * dense_s] * 9, **shape),
                make_row("block_topk", samples=[1.5e-3 * batch] * 9, kv_budget=1024, **shape),
                make_row("block_topk", provider="naive_sparse", samples=[1.5e-2 * batch] * 9, kv_budget=1024, **shape),
            ]
    return rows


def aime_rows() -> list[dict[str, Any]]:
    """What a figure of the miniature is described by."""
    answers = {"operation": "aime_generate", "model": "mini-50k", "generation_s": 10.0}
    ahead = {
        "operation": "aime_sparse_against_dense",
        "task": "long_cot",
        "axis": "exact_tera_eflop",
        "costs_compared": 40,
        "costs_below": 0,
        "smallest_gain_points": 0.1,
    }
    behind = ahead | {"task": "best_of_n", "axis": "measured_s", "costs_below": 3, "smallest_gain_points": -1.5}
    stats = {"data": [1.0], "median": 1.0, "iqr": 0.0}
    return [{"name": f"aime {i}", "extra_info": row, "stats": stats} for i, row in enumerate((answers, ahead, behind))]
