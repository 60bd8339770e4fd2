"""Errors of predictions as tables for people and as plain values for programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from kinetics.prediction.promises import Kept
from kinetics.prediction.silicon_judging import Judged
from kinetics.specs.hardware import find_accelerator
from kinetics.tables.display import Column
from kinetics.tables.quantity import Quantity
from kinetics.tables.table import Table

MOST_KERNELS: Final = 40
"""More kernels than this are shown by operation and device."""
SHARED: Final = ("operation", "split", "device", "framework", "dtype", "variant")
"""Columns that say little where they say the same in every row."""
ERROR_COLUMNS: Final = {
    column.name: column
    for column in (
        Column(name="rows", quantity=Quantity.COUNT),
        Column(name="kernels", quantity=Quantity.COUNT),
        Column(name="median_error", quantity=Quantity.PERCENT, heading="median %"),
        Column(name="p90_error", quantity=Quantity.PERCENT, heading="90th %"),
        Column(name="roof_error", quantity=Quantity.PERCENT, heading="bare roof %"),
        Column(name="promised_median", quantity=Quantity.PERCENT, heading="promised %"),
        Column(name="promised_p90", quantity=Quantity.PERCENT, heading="promised 90th %"),
        Column(name="kept", quantity=Quantity.FLAG),
        Column(name="worst_error", quantity=Quantity.PERCENT, heading="its median %"),
    )
}


def error_summary(errors: Sequence[np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Median, 90th percentile and number of errors."""
    joined = np.concatenate(errors)
    return {
        "median_abs_error": float(np.median(joined)),
        "p90_abs_error": float(np.quantile(joined, 0.9)),
        "cases": len(joined),
    }


def validation_document(judged: Sequence[Judged], kept: Sequence[Kept] = ()) -> dict[str, Any]:
    """Errors over all rows, by operation and by kernel, and what became of promises, as plain values."""
    by_operation: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for one in judged:
        by_operation[one.operation, one.split.value].append(one)
    return {
        "schema": 2,
        **error_summary([one.errors for one in judged]),
        "by_operation": [
            {"operation": operation, "split": split, **error_summary([one.errors for one in group])}
            for (operation, split), group in by_operation.items()
        ],
        "by_kernel": [_kernel_record(one) for one in judged],
        "promises": [promise_record(one) for one in kept],
    }


def _kernel_record(one: Judged) -> dict[str, Any]:
    return {
        "device": one.device.name, "kernel": one.kernel.name,
        "source": f"{one.kernel.framework} {one.kernel.version}".strip(), "operation": one.operation,
        "dtype": one.dtype, "variant": one.variant, "split": one.split.value, "fitted_on": one.fitted_on,
        **error_summary([one.errors]), "roofline_median_abs_error": float(np.median(one.roof_errors)),
    }  # fmt: skip


def promise_record(kept: Kept) -> dict[str, Any]:
    """One promise as plain values."""
    promise, (median, p90) = kept.promise, kept.errors
    return {
        "operation": promise.operation, "split": promise.split.value, "kernels": len(kept.kernels),
        "rows": sum(one.num_rows for one in kept.kernels), "median_error": median, "promised_median": promise.median,
        "p90_error": p90, "promised_p90": promise.p90, "kept": kept.is_kept, "kernels_within": kept.num_within,
        "worst_kernel": f"{kept.worst.kernel}, {kept.worst.dtype} {kept.worst.variant}".strip(),
        "worst_error": kept.worst.median,
    }  # fmt: skip


def promises_table(kept: Sequence[Kept]) -> Table:
    """What was promised and what was found; the worst kernels stand in a table of their own."""
    records = [promise_record(one) for one in kept]
    for record in records:
        record["within"] = f"{record['kernels_within']} of {record['kernels']}"
    names = (
        "operation", "split", "rows", "median_error", "promised_median", "p90_error", "promised_p90", "kept", "within",
    )  # fmt: skip
    return _table("promises", names, records)


def worst_table(kept: Sequence[Kept]) -> Table:
    """The worst kernel of every promise."""
    names = ("operation", "split", "worst_kernel", "worst_error")
    return _table("worst", names, [promise_record(one) for one in kept])


def errors_table(judged: Sequence[Judged]) -> Table:
    """A row a kernel, or a row an operation, device and framework where kernels are many."""
    if len(judged) <= MOST_KERNELS:
        names = (
            "operation", "device", "kernel", "dtype", "variant", "rows", "median_error", "p90_error", "roof_error",
        )  # fmt: skip
        records = [{**_kernel_record(one), **_errors_of([one])} for one in judged]
        for record in records:
            record["kernel"] = f"{record['kernel']} {record['source']}"
            record["device"] = find_accelerator(record["device"]).called
        return _table("errors", names, records)
    return _pooled_table(judged)


def _pooled_table(judged: Sequence[Judged]) -> Table:
    groups: dict[tuple[str, str, str, str], list[Judged]] = defaultdict(list)
    for one in judged:
        groups[one.operation, one.split.value, one.device.called, one.kernel.framework].append(one)
    keys = ("operation", "split", "device", "framework")
    records = [
        {**dict(zip(keys, key, strict=True)), "kernels": len(group), **_errors_of(group)}
        for key, group in groups.items()
    ]
    return _table("errors", (*keys, "kernels", "rows", "median_error", "p90_error", "roof_error"), records)


def _errors_of(group: Sequence[Judged]) -> dict[str, Any]:
    found = error_summary([one.errors for one in group])
    return {
        "rows": found["cases"], "median_error": found["median_abs_error"], "p90_error": found["p90_abs_error"],
        "roof_error": float(np.median(np.concatenate([one.roof_errors for one in group]))),
    }  # fmt: skip


def _table(name: str, columns: tuple[str, ...], records: Sequence[dict[str, Any]]) -> Table:
    return Table(name=name, columns=columns, rows=tuple(tuple(one[key] for key in columns) for one in records))
