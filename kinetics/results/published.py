"""Latencies that others published, as result files that say so.

Each device of a latency table becomes one file: the published time as its only sample, bytes counted by
`kinetics.cost.kernels`, the data sheet's rates as ceilings. What the table does not state (page size, cache state,
launches) stays unknown in the file, and nothing in it claims to have been measured or proved by this suite.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetics.cost.kernels import dense_attention_work
from kinetics.files.atomic import write_json
from kinetics.files.lines import DataFileError
from kinetics.prediction.calibration import calibrate
from kinetics.prediction.latency_tables import BF16_BYTES, LatencyRow, read_latency_table
from kinetics.results.reader import Origin
from kinetics.results.store import SCHEMA, Document
from kinetics.specs.hardware import Accelerator, Precision, find_accelerator
from kinetics.specs.models import find_model


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySelection:
    """Which rows to import; an empty sequence means all. Models stand for their head shapes."""

    models: Sequence[str] = ()
    batches: Sequence[int] = ()
    context_lens: Sequence[int] = ()

    def takes(self, row: LatencyRow) -> bool:
        """Whether a row is wanted."""
        batch, context_len, *heads = row.shape
        specs = [find_model(name) for name in self.models]
        return (
            not specs or tuple(heads) in {(spec.num_q_heads, spec.num_kv_heads, spec.head_dim) for spec in specs}
        ) and self.takes_size(batch, context_len)

    def takes_size(self, batch: int, context_len: int) -> bool:
        """Whether rows of this batch and context are wanted."""
        return (not self.batches or batch in self.batches) and (
            not self.context_lens or context_len in self.context_lens
        )


def import_latencies(table: Path, folder: Path, *, selection: LatencySelection) -> list[Path]:
    """Write one result file per device of a latency table; return their paths.

    Raises: DataFileError for a table that cannot be used or holds no wanted row; ValueError for an unknown model.
    """
    rows = [row for row in read_latency_table(table) if selection.takes(row)]
    if not rows:
        raise DataFileError(f"{table}: table must hold a wanted row, got none; widen --model, --batch or --context")
    written = []
    for name in dict.fromkeys(row.device for row in rows):
        document = published_document([row for row in rows if row.device == name])
        path = folder / f"{device_slug(name)}.json"
        write_json(path, document)
        written.append(path)
    return written


def published_document(rows: Sequence[LatencyRow]) -> Document:
    """The result file of one device's published latencies.

    Raises: DataFileError if a shape of one kernel stands twice.
    """
    device = find_accelerator(rows[0].device)
    benches = [_bench(row, device) for row in sorted(rows, key=lambda row: (row.kernel, row.shape))]
    names = [bench["name"] for bench in benches]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataFileError(f"{device.name}: a shape must stand once per kernel, got {twice} again; choose one time")
    fitted = calibrate([bench["extra_info"] for bench in benches])
    return {
        "schema": SCHEMA,
        "origin": Origin.PUBLISHED.value,
        "source": ", ".join(dict.fromkeys(row.source for row in rows)),
        "grid": "published",
        "machine_info": machine_facts(device),
        "calibrations": {
            name: {"overhead_s": fit.overhead_s, "efficiency": fit.efficiency} for name, fit in fitted.items()
        },
        "skipped": [],
        "benchmarks": benches,
    }


def machine_facts(device: Accelerator) -> dict[str, Any]:
    """What a result file says of a device known by its data sheet alone."""
    return {
        "device": device.name,
        "device_kind": "published",
        "device_slug": f"published-{device_slug(device.name)}",
        "ceilings": {
            "read_bytes_per_s": device.memory_bytes_per_s,
            "matmul_flop_per_s": device.flop_per_s(Precision.BF16),
            "cache_bytes": device.l2_bytes,
            "dtype": "bfloat16",
        },
        "ceilings_source": f"data sheet: {device.source}",
    }


def _bench(row: LatencyRow, device: Accelerator) -> dict[str, Any]:
    batch, context_len, num_q_heads, num_kv_heads, head_dim = row.shape
    work = dense_attention_work(
        batch=batch,
        context_len=context_len,
        num_q_heads=num_q_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        element_bytes=BF16_BYTES,
    )
    name = f"dense-{row.kernel}-h{num_q_heads}x{num_kv_heads}x{head_dim}-b{batch}-c{context_len}"
    achieved = work.num_bytes / row.measured_s
    fields = {
        "case": name, "operation": "dense", "provider": row.kernel, "provider_version": row.source, "model": None,
        "num_q_heads": num_q_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim, "batch": batch,
        "context_len": context_len, "kv_budget": None, "page_size": None, "kv_layout": None, "dtype": "bfloat16",
        "cache_state": None, "graph": None, "minimum_bytes": work.num_bytes, "flop": work.flop,
        "median_s": row.measured_s, "predicted_s": row.roof_s, "predicted_roof_s": row.roof_s,
        "predicted_bound": "memory" if work.num_bytes / device.memory_bytes_per_s == row.roof_s else "compute",
        "calibrated_s": None, "calibration_role": None, "measured_over_predicted": row.measured_s / row.roof_s,
        "achieved_bytes_per_s": achieved, "ceiling_bytes_per_s": device.memory_bytes_per_s,
        "fraction_of_ceiling": achieved / device.memory_bytes_per_s, "max_abs_error": None,
    }  # fmt: skip
    return {
        "name": name,
        "fullname": name,
        "group": "published",
        "extra_info": fields,
        "stats": one_sample_stats(row.measured_s),
    }


def one_sample_stats(seconds: float) -> dict[str, Any]:
    """Statistics of one published number, as pytest-benchmark spells them."""
    same = ("min", "max", "mean", "median", "q1", "q3", "ld15iqr", "hd15iqr", "total")
    return dict.fromkeys(same, seconds) | {
        "stddev": 0.0, "iqr": 0.0, "iqr_outliers": 0, "stddev_outliers": 0, "outliers": "0;0", "rounds": 1,
        "iterations": 1, "ops": 1 / seconds, "data": [seconds],
    }  # fmt: skip


def device_slug(name: str) -> str:
    """A device's name as files are named."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
