"""Time predictions against other people's measurements: latency tables of dense decode attention.

A table's rows are split once, by shape and never by time: every other row of the sorted table fits the two-number
calibration of its (device, kernel), the rest judge it. Bytes come from `kinetics.cost.kernels`, peaks from the data
sheet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from kinetics.cost.kernels import dense_attention_work
from kinetics.files.lines import Complaints, DataFileError
from kinetics.files.records import read_records
from kinetics.prediction.calibration import Calibration, fit_calibration
from kinetics.specs.hardware import Precision, find_accelerator

COLUMNS: Final = (
    "hw", "kernel_source", "src", "batch_size", "kv_len", "num_heads", "num_key_value_heads", "head_dim", "latency_ms",
)  # fmt: skip
BF16_BYTES: Final = 2
DEFAULT_MIN_CONTEXT: Final = 512
"""Below it a launch takes longer than the bytes do, and errors say little about either."""
MIN_ROWS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """One measured decode attention call: shape, roofline time on the device's data sheet, and measured time."""

    device: str
    kernel: str
    source: str
    shape: tuple[int, int, int, int, int]
    roof_s: float
    measured_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelErrors:
    """Held-out errors of one (device, kernel): |predicted / measured - 1|, calibrated and by the bare roofline."""

    device: str
    kernel: str
    source: str
    calibration: Calibration
    num_fitted: int
    errors: tuple[float, ...]
    roofline_errors: tuple[float, ...]


def read_latency_table(path: Path) -> list[LatencyRow]:
    """All rows of a table.

    Raises: DataFileError naming file and line for a missing column, a bad value or an unknown device.
    """
    complaints = Complaints(path=path, keeps_going=False)
    rows = []
    for line, record in read_records(path, complaints, COLUMNS):
        try:
            rows.append(_read_row(record))
        except ValueError as error:
            raise DataFileError(f"{path}:{line}: {error}") from error
    return rows


def validate_rows(rows: Sequence[LatencyRow], *, min_context: int) -> list[KernelErrors]:
    """Errors per (device, kernel), in order of appearance.

    Raises: ValueError if a (device, kernel) has too few rows from `min_context` keys on.
    """
    groups: dict[tuple[str, str], list[LatencyRow]] = {}
    for row in rows:
        groups.setdefault((row.device, row.kernel), [])
        if row.shape[1] >= min_context:
            groups[row.device, row.kernel].append(row)
    if not groups:
        raise ValueError("a latency table needs at least one row, got none")
    return [_judge(key, group, min_context) for key, group in groups.items()]


def validation_document(found: Sequence[KernelErrors]) -> dict[str, Any]:
    """Held-out errors over all cases and by (device, kernel), as plain values."""
    every_error = [error for kernel in found for error in kernel.errors]
    return _error_summary(every_error) | {
        "by_kernel": [
            {
                "device": kernel.device,
                "kernel": kernel.kernel,
                "source": kernel.source,
                **_error_summary(kernel.errors),
                "fitted_cases": kernel.num_fitted,
                "overhead_s": kernel.calibration.overhead_s,
                "efficiency": kernel.calibration.efficiency,
                "roofline_median_abs_error": float(np.median(kernel.roofline_errors)),
            }
            for kernel in found
        ]
    }


def _error_summary(errors: Sequence[float]) -> dict[str, Any]:
    return {
        "median_abs_error": float(np.median(errors)),
        "p90_abs_error": float(np.percentile(errors, 90)),
        "cases": len(errors),
    }


def _judge(key: tuple[str, str], group: Sequence[LatencyRow], min_context: int) -> KernelErrors:
    if len(group) < MIN_ROWS:
        raise ValueError(
            f"{key[1]} on {key[0]} must have {MIN_ROWS} rows from {min_context} keys on, got {len(group)}; "
            "lower --min-context"
        )
    ordered = sorted(group, key=lambda row: row.shape)
    fitted, held_out = ordered[::2], ordered[1::2]
    calibration = fit_calibration([row.roof_s for row in fitted], [row.measured_s for row in fitted])
    return KernelErrors(
        device=key[0],
        kernel=key[1],
        source=group[0].source,
        calibration=calibration,
        num_fitted=len(fitted),
        errors=tuple(abs(calibration.total_s(row.roof_s) / row.measured_s - 1) for row in held_out),
        roofline_errors=tuple(abs(row.roof_s / row.measured_s - 1) for row in held_out),
    )


def _read_row(record: Mapping[str, str]) -> LatencyRow:
    batch, context_len = _positive(record, "batch_size"), _positive(record, "kv_len")
    q_heads, kv_heads = _positive(record, "num_heads"), _positive(record, "num_key_value_heads")
    head_dim = _positive(record, "head_dim")
    work = dense_attention_work(
        batch=batch,
        context_len=context_len,
        num_q_heads=q_heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        element_bytes=BF16_BYTES,
    )
    device = find_accelerator(_device_words(record["hw"]))
    measured_ms = float(record["latency_ms"])
    if not 0 < measured_ms < float("inf"):
        raise ValueError(f"latency_ms must be above 0, got {record['latency_ms'][:20]!r}")
    memory_s = work.num_bytes / device.memory_bytes_per_s
    return LatencyRow(
        device=device.name,
        kernel=record["kernel_source"],
        source=record["src"],
        shape=(batch, context_len, q_heads, kv_heads, head_dim),
        roof_s=max(memory_s, work.flop / device.flop_per_s(Precision.BF16)),
        measured_s=measured_ms / 1e3,
    )


def _device_words(hw: str) -> str:
    """aiconfigurator's `a100_sxm` is the 80 GB part, which the table of accelerators names with its memory."""
    return "A100-80GB SXM" if hw == "a100_sxm" else hw.replace("_", " ")


def _positive(record: Mapping[str, str], column: str) -> int:
    text = record[column]
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise ValueError(f"{column} must be a count above 0, got {text[:20]!r}")
    return int(text)
