"""Latency tables of decode attention as people publish them: one measured call a row, bf16, times in milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinetics.cost.kernels import dense_attention_work
from kinetics.files.lines import Complaints, DataFileError
from kinetics.files.records import read_records
from kinetics.prediction.silicon_fits import device_of
from kinetics.specs.hardware import Precision

COLUMNS: Final = (
    "hw", "kernel_source", "src", "batch_size", "kv_len", "num_heads", "num_key_value_heads", "head_dim", "latency_ms",
)  # fmt: skip
BF16_BYTES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """One measured decode attention call: shape, roofline time on the device's data sheet, and measured time."""

    device: str
    kernel: str
    source: str
    shape: tuple[int, int, int, int, int]
    roof_s: float
    measured_s: float


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
    device = device_of(record["hw"])
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


def _positive(record: Mapping[str, str], column: str) -> int:
    text = record[column]
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise ValueError(f"{column} must be a count above 0, got {text[:20]!r}")
    return int(text)
