"""Measured latencies of a file as rows that share a kernel: what people have, read as the fits see it.

Two layouts. A latency table of decode attention (`kinetics.prediction.latency_tables`). And a table of any operation
with the columns that aiconfigurator-core's table of it has, besides `system`, `framework` and `version`; `latency` in
milliseconds. Devices may be written as the world writes them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from kinetics.files.lines import Complaints, DataFileError, read_lines
from kinetics.prediction.latency_tables import LatencyRow, read_latency_table
from kinetics.prediction.silicon_cases import attention_cases, attention_variant
from kinetics.prediction.silicon_fits import MIN_ROWS, device_of
from kinetics.prediction.silicon_package import Kernel, Measured
from kinetics.specs.attention_layers import GroupedQueryAttention
from kinetics.specs.cache_formats import find_cache_format

WHERE_COLUMNS: Final = ("system", "framework", "version")
_WORDS: Final = frozenset(
    (
        "kernel_source",
        "kv_cache_dtype",
        "gemm_type",
        "gemm_dtype",
        "moe_dtype",
        "distribution",
        "model",
        "phase",
        "score_mode",
    )
)
"""Columns that hold no numbers."""


def read_measured_file(path: Path, *, operation: str | None, min_context: int) -> list[Measured]:
    """Groups of rows of a file that share a kernel, in order of shape.

    min_context: of a latency table, rows of fewer keys are left out.

    Raises: DataFileError naming file and line for a missing column, a bad value or an unknown device; ValueError if
    the layout needs an operation that is not stated, or no row is left.
    """
    lines = read_lines(path, Complaints(path=path, keeps_going=False))
    names = next(csv.reader([next(lines, (0, ""))[1]]), [])
    if not set(WHERE_COLUMNS) <= set(names) and operation in (None, "attention"):
        rows = [row for row in read_latency_table(path) if row.shape[1] >= min_context]
        found = list(_attention_groups(rows))
    elif operation is None:
        raise ValueError(f"--operation must say what {path} holds, got none")
    else:
        found = list(_operation_groups(path, names, list(lines), operation))
    if not found:
        raise ValueError(f"{path} must hold a row to judge, got none; is --min-context above every context?")
    return found


def check_enough(groups: Sequence[Measured]) -> None:
    """Refuse rows that no kernel has enough of.

    Raises: ValueError saying how many are needed.
    """
    most = max(groups, key=lambda group: len(group.seconds))
    if len(most.seconds) < MIN_ROWS:
        raise ValueError(
            f"a kernel must have {MIN_ROWS} rows to be judged, got at most {len(most.seconds)}, of {most.kernel}; "
            "add rows or lower --min-context"
        )


def _attention_groups(rows: Sequence[LatencyRow]) -> Iterator[Measured]:
    for key, group in groupby(sorted(rows, key=lambda row: (_kernel_of(row), row.shape)), key=_kernel_of):
        yield _attention_group(key[-1], list(group))


def _kernel_of(row: LatencyRow) -> tuple[str, str, str, str]:
    _, _, q_heads, kv_heads, head_dim = row.shape
    return row.device, row.kernel, row.source, attention_variant(q_heads / kv_heads, head_dim, None)


def _attention_group(variant: str, rows: Sequence[LatencyRow]) -> Measured:
    batch, contexts, q_heads, kv_heads, dims = np.array([row.shape for row in rows], float).T
    one = GroupedQueryAttention(num_q_heads=1, num_kv_heads=1, head_dim=int(dims[0]), value_dim=int(dims[0]))
    cases = attention_cases(one, find_cache_format("bf16"), batch=batch, context_len=contexts)
    columns = {**cases.columns, "q_heads": q_heads, "kv_heads": kv_heads}
    framework, _, version = rows[0].source.rpartition(":")[2].partition("/")
    return Measured(
        kernel=Kernel(system=rows[0].device, framework=framework, version=version, name=rows[0].kernel),
        cases=replace(cases, variant=variant, columns=columns),
        seconds=np.array([row.measured_s for row in rows]),
    )


def _operation_groups(
    path: Path, names: Sequence[str], lines: Sequence[tuple[int, str]], operation: str
) -> Iterator[Measured]:
    """Rows with the columns of the package's own table of an operation."""
    import pandas as pd

    from kinetics.prediction.silicon_tables import groups_of, table_columns

    needed = (*WHERE_COLUMNS, *table_columns(operation), "latency")
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataFileError(f"{path}:1: table must have columns {', '.join(needed)}, got none named {missing[0]}")
    records = [_record(path, line, dict(_fields(path, line, names, text)), needed) for line, text in lines]
    frame = pd.DataFrame(records, columns=list(needed))
    for key, rows in frame.groupby(list(WHERE_COLUMNS)):
        system, framework, version = (str(value) for value in key)
        for name, cases, seconds in groups_of(operation, rows):
            kernel = Kernel(system=system, framework=framework, version=version, name=name)
            yield Measured(kernel=kernel, cases=cases, seconds=seconds)


def _fields(path: Path, line: int, names: Sequence[str], text: str) -> Iterator[tuple[str, str]]:
    values = next(csv.reader([text]))
    if len(values) != len(names):
        raise DataFileError(f"{path}:{line}: row must have {len(names)} fields, got {len(values)}")
    return zip(names, values, strict=True)


def _record(path: Path, line: int, record: dict[str, str], needed: Sequence[str]) -> dict[str, str | float]:
    """The values that are read, numbers as numbers.

    Raises: DataFileError naming the line and what is wrong in it.
    """
    try:
        device_of(record["system"])
        found = {name: record[name] if name in (*WHERE_COLUMNS, *_WORDS) else _number(name, record) for name in needed}
    except ValueError as error:
        raise DataFileError(f"{path}:{line}: {error}") from error
    return found


def _number(name: str, record: dict[str, str]) -> int | float:
    """A time, or a count however it is written: `128` or `128.0`."""
    try:
        value = float(record[name])
    except ValueError:
        value = float("nan")
    is_time = name == "latency"
    if not 0 <= value < 1e15 or (is_time and value == 0) or not (is_time or value == int(value)):
        raise ValueError(f"{name} must be {'a time above 0' if is_time else 'a count'}, got {record[name][:20]!r}")
    return value if is_time else int(value)
