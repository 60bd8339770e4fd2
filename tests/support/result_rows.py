"""Made result files: small, and complete enough to be compared and shown."""

import statistics
from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]

SHAPE = {"num_q_heads": 32, "num_kv_heads": 8, "head_dim": 128}
BANDWIDTH = 2e10
CIRCUMSTANCES = {
    "torch_threads": 2, "num_cpus": 2, "governor": None, "others_cpu_share": 0.01, "steal_share": 0.0,
    "involuntary_switches_per_s": 3.0, "load_per_cpu": 0.5, "temperature_c": None, "device_complaint": None,
}  # fmt: skip
"""What a quiet machine adds to a row."""


def make_row(
    operation: str = "dense", *, provider: str = "ours", samples: Sequence[float] = (1e-3,) * 9, **fields: Any
) -> Document:
    """One benchmark entry. Predicted from the bytes alone, so that every figure can be checked by hand."""
    batch, context_len = fields.get("batch", 1), fields.get("context_len", 1024)
    kept = fields.get("kv_budget") or context_len
    num_bytes = batch * kept * 2 * 8 * 128 * 4
    median_s = statistics.median(samples)
    info = {
        "operation": operation, "provider": provider, "provider_version": "1", "model": "Qwen3-8B", **SHAPE,
        "batch": batch, "context_len": context_len, "kv_budget": None, "page_size": 16, "kv_layout": "hnd",
        "dtype": "float32", "cache_state": "cold", "graph": False, "minimum_bytes": num_bytes, "flop": 2 * num_bytes,
        "median_s": median_s, "predicted_s": num_bytes / BANDWIDTH, "predicted_roof_s": num_bytes / BANDWIDTH,
        "calibrated_s": None, "calibration_role": None, "measured_over_predicted": median_s * BANDWIDTH / num_bytes,
        "achieved_bytes_per_s": num_bytes / median_s, "ceiling_bytes_per_s": BANDWIDTH,
        "fraction_of_ceiling": num_bytes / median_s / BANDWIDTH, "max_abs_error": 1e-7,
    } | fields  # fmt: skip
    budget = f"-k{info['kv_budget']}" if info["kv_budget"] else ""
    info.setdefault("case", f"{operation}-{provider}-b{batch}-c{context_len}{budget}")
    return {
        "name": f"test[{info['case']}]",
        "extra_info": info,
        "stats": {"data": list(samples), "median": median_s, "iqr": 0.1 * median_s},
    }


def make_document(
    rows: Sequence[Document],
    *,
    device: str = "Made CPU",
    slug: str = "cpu-made",
    identity: Document | None = None,
    **fields: Any,
) -> Document:
    """A result file's document; of an old one, which does not tell its identity, unless one is given."""
    ceilings = {"read_bytes_per_s": BANDWIDTH, "matmul_flop_per_s": 1e11, "launch_s": 1e-6, "dtype": "float32"}
    return {
        "schema": 1,
        "grid": "quick",
        "started_utc": "2026-01-01T00:00:00Z",
        "commit_info": {"id": "0123456789", "dirty": False},
        "machine_info": {
            "device": device,
            "device_kind": "made",
            "device_slug": slug,
            "ceilings": ceilings,
            "versions": {"torch": "2"},
            **({"identity": identity, "device_kind": "cpu"} if identity else {}),
        },
        "skipped": [],
        "benchmarks": rows,
    } | fields


def make_law(**fields: Any) -> Document:
    """What `kinetics law --json` writes: one frontier of two models."""
    frontier = {
        "attention": "dense", "cost_tera_eflop": [1.0, 2.0], "seconds": [0.1, 0.2], "accuracy": [0.25, 0.5],
        "best_model": ["Qwen3-4B", "Qwen3-8B"],
    }  # fmt: skip
    task = {"task": "long_cot", "frontiers": [frontier]}
    return {"schema": 1, "source": "made", "pricing": "by hand", "device": "B200", "tasks": [task]} | fields
