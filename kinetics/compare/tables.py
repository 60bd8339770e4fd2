"""A comparison as tables: plain values with units in the column names, and the same as people read them.

What JSON and CSV carry and what a terminal or Markdown shows come from one set of tables. Nothing is matched here.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from kinetics.compare.comparison import FASTEST, Comparison, Entry, MatchedCase
from kinetics.law.stored_frontiers import ChoiceAt
from kinetics.prediction.calibration import calibration_errors
from kinetics.results.field import View
from kinetics.results.fields import COLUMNS, shown_in
from kinetics.results.reader import MAX_FRACTION_OF_CEILING, ResultFile, UnusedRow
from kinetics.results.row import ResultRow
from kinetics.results.speedup import crossovers, speedups
from kinetics.tables.display import Column, keep_columns, table_for_people
from kinetics.tables.quantity import NOTHING, Quantity, show
from kinetics.tables.table import Table, Value

_MAX_NAMES: Final = 3
_REMARKED: Final = ("pricing", "source")
_TYPED: Final = ("device", "grid", "path")  # in the label or on the command line already


def _columns(*columns: tuple[str, Quantity, str]) -> dict[str, Column]:
    return {name: Column(name=name, quantity=quantity, heading=heading) for name, quantity, heading in columns}


HEADINGS: Final = COLUMNS | _columns(
    ("started_utc", Quantity.TEXT, "started"),
    ("num_rows", Quantity.COUNT, "rows"),
    ("read_bytes_per_s", Quantity.BYTES_PER_S, "read GB/s"),
    ("matmul_flop_per_s", Quantity.FLOP_PER_S, "TFLOP/s"),
    ("ceiling_kind", Quantity.TEXT, "ceiling"),
    ("fraction_of_data_sheet", Quantity.SHARE, "of data sheet"),
    ("num_cases", Quantity.COUNT, "cases"),
    ("geometric_mean_ratio", Quantity.TIME_RATIO, "mean x base"),
    ("smallest_ratio", Quantity.TIME_RATIO, "smallest"),
    ("largest_ratio", Quantity.TIME_RATIO, "largest"),
    ("num_slower", Quantity.COUNT, "slower"),
    ("num_faster", Quantity.COUNT, "faster"),
    ("differs_in", Quantity.TEXT, "differs in (base / this)"),
    ("ratio", Quantity.TIME_RATIO, "time x base"),
    ("ratio_low", Quantity.TIME_RATIO, "95 % from"),
    ("ratio_high", Quantity.TIME_RATIO, "to"),
    ("measured_context_len", Quantity.TOKENS, "measured from"),
    ("predicted_context_len", Quantity.TOKENS, "predicted from"),
    ("calibrated_context_len", Quantity.TOKENS, "calibrated from"),
    ("median_measured_over_predicted", Quantity.RATIO, "meas/pred"),
    ("held_out_median_abs_error", Quantity.SHARE, "held-out error"),
    ("held_out_p90_abs_error", Quantity.SHARE, "its p90"),
    ("num_held_out", Quantity.COUNT, "over cases"),
    ("num_names", Quantity.COUNT, "how many"),
    ("same_samples", Quantity.FLAG, "same samples"),
    ("accuracy_fraction", Quantity.SHARE, "accuracy"),
    ("choice_changes", Quantity.FLAG, "changes"),
    ("cost_s", Quantity.SECONDS, "per question"),
)
"""Every column of these tables: the fields of rows, and what is made of several."""


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Files, ratios in short, every matched case, crossovers, prediction errors, and what was left out."""
    tables = [_files(comparison), _ratios(comparison), _cases(comparison)]
    tables += [_crossovers(comparison.files), prediction_table(comparison.files), left_out_table(comparison.left_out)]
    return [table for table in tables if table.rows]


def choice_table(choices: Iterable[ChoiceAt]) -> Table:
    """The cheapest way to each accuracy on each device, and whether devices disagree about it."""
    columns = (
        "task", "accuracy_fraction", "choice_changes", "same_samples", "device", "attention", "best_model", "cost_s",
        "pricing", "source",
    )  # fmt: skip
    rows = [
        (
            at.task, at.accuracy, at.changes, at.is_of_one_source, choice.device, choice.attention, choice.model,
            choice.seconds, choice.pricing, choice.source,
        )
        for at in choices
        for choice in at.choices
    ]  # fmt: skip
    return Table(name="choices", columns=columns, rows=tuple(rows))


def choices_for_people(choices: Table) -> Table:
    """The choices with headings and units; how each device was priced stands in the remarks."""
    kept = [name for name in choices.columns if name not in _REMARKED]
    return table_for_people(keep_columns(choices, kept), HEADINGS)


def remarks(comparison: Comparison) -> list[str]:
    """What a reader must know before believing a ratio."""
    lines = []
    if comparison.is_of_one_device:
        lines.append(
            "One device, separate runs: intervals hold the scatter within each run, not what changed on the machine "
            "between them. Whether a change made something slower is for `kinetics gate` to say."
        )
    else:
        lines.append(
            "Different devices: rows are matched by shape; what else differs stands beside each ratio. One layer of "
            "attention, unless a case names its layers (l)."
        )
        lines += _unlikeness(comparison.files)
    for file in comparison.files:
        lines += [f"{file.label}: {note}" for note in file.notes]
        if file.source:
            lines.append(f"{file.label}: times published elsewhere ({file.source}), not measured or proved here")
    return lines + _doubts(comparison)


def _unlikeness(files: Sequence[ResultFile]) -> list[str]:
    """In what devices of one name differ from the first of that name: nothing else tells them apart."""
    lines = []
    for index, file in enumerate(files):
        first = next(one for one in files if one.identity.name == file.identity.name)
        if index and (differences := first.identity.differences(file.identity)):
            lines.append(f"{first.label} and {file.label} are different devices: {'; '.join(differences)}")
    return lines


def tables_for_people(comparison: Comparison) -> list[Table]:
    """All tables with headings and units; the cases in fewer columns, files by their letters."""
    tables = {table.name: table_for_people(table, HEADINGS) for table in comparison_tables(comparison)}
    tables["files"] = keep_columns(tables["files"], [name for name in tables["files"].columns if name not in _TYPED])
    cases = _cases_side_by_side(comparison) if comparison.is_of_one_device else _cases_below_each_other(comparison)
    return [cases if name == "cases" else table for name, table in tables.items()]


def _cases_side_by_side(comparison: Comparison) -> Table:
    columns = (
        "case", "provider", "files", "base", "this", "time x base", "95 % from", "to", "base mJ/token", "mJ/token", "",
    )  # fmt: skip
    rows = [_side_by_side(case, entry) for case in comparison.cases for entry in case.entries[1:]]
    table = Table(name="cases", columns=columns, rows=tuple(rows))
    joules = [index for index, name in enumerate(columns) if name.endswith("mJ/token")]
    has_joules = any(row[index] != NOTHING for row in rows for index in joules)
    return table if has_joules else keep_columns(table, [name for name in columns if not name.endswith("mJ/token")])


def _side_by_side(case: MatchedCase, entry: Entry) -> tuple[Value, ...]:
    base, ratio = case.entries[0], entry.ratio
    assert ratio is not None
    verdict = "" if not ratio.excludes_one else "slower" if ratio.ratio > 1 else "faster"
    return (
        case.label,
        case.pairing,
        f"{base.file.letter} {entry.file.letter}",
        *(show(one.row.median_s, Quantity.SECONDS) for one in (base, entry)),
        *(show(value, Quantity.TIME_RATIO) for value in (ratio.ratio, ratio.low, ratio.high)),
        *(show(one.row.fields.get("joules_per_token"), Quantity.JOULES) for one in (base, entry)),
        verdict,
    )


def _cases_below_each_other(comparison: Comparison) -> Table:
    full = table_for_people(_cases(comparison), HEADINGS)
    hidden = {
        "pairing",
        "operation",
        "model",
        "batch",
        "context len",
        "budget",
        "page size",
        "95 % from",
        "to",
    }
    file = full.columns.index("file")
    rows = [(*row[:file], str(row[file]).split(" ", 1)[0], *row[file + 1 :]) for row in full.rows]
    return keep_columns(replace(full, rows=tuple(rows)), [name for name in full.columns if name not in hidden])


def _files(comparison: Comparison) -> Table:
    columns = (
        "file", "device", "origin", "commit", "started_utc", "grid", "num_rows", "dtype", "read_bytes_per_s",
        "matmul_flop_per_s", "ceiling_kind", "fraction_of_data_sheet", "path",
    )  # fmt: skip
    return Table(name="files", columns=columns, rows=tuple(_file_row(file) for file in comparison.files))


def _file_row(file: ResultFile) -> tuple[Value, ...]:
    read, sheet = file.ceilings.get("read_bytes_per_s"), file.data_sheet_bytes_per_s
    dtypes = sorted({row.fields["dtype"] for row in file.rows if row.fields.get("dtype")})
    return (
        file.label, file.device, file.origin.value, file.commit[:7] or None, file.started_utc or None,
        file.grid or None, len(file.rows), ", ".join(dtypes), read, file.ceilings.get("matmul_flop_per_s"),
        file.ceiling_kind, read / sheet if read and sheet else None, str(file.path),
    )  # fmt: skip


def _ratios(comparison: Comparison) -> Table:
    """Per (base, other file): how its ratios lie, all cases weighing the same.

    The fastest of each file stand apart from pairs of one provider: both can speak of the same shape.
    """
    groups: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for case in comparison.cases:
        pairing = FASTEST if case.pairing == FASTEST else "one provider"
        for entry in case.entries[1:]:
            groups[case.entries[0].file.label, entry.file.label, pairing].append(entry)
    columns = (
        "base", "file", "pairing", "num_cases", "geometric_mean_ratio", "smallest_ratio", "largest_ratio", "num_slower",
        "num_faster", "differs_in",
    )  # fmt: skip
    rows = []
    for key, entries in groups.items():
        ratios = [entry.ratio for entry in entries if entry.ratio]
        values = [ratio.ratio for ratio in ratios]
        mean = math.exp(statistics.fmean(math.log(value) for value in values))
        has_intervals = any(ratio.low is not None for ratio in ratios)
        slower = sum(ratio.excludes_one and ratio.ratio > 1 for ratio in ratios) if has_intervals else None
        faster = sum(ratio.excludes_one and ratio.ratio < 1 for ratio in ratios) if has_intervals else None
        odd = dict.fromkeys(item for entry in entries for item in entry.differs_in if not item.startswith("provider"))
        rows.append((*key, len(values), mean, min(values), max(values), slower, faster, "; ".join(odd) or None))
    return Table(name="ratios", columns=columns, rows=tuple(rows))


def case_columns() -> tuple[str, ...]:
    """Columns of the matched cases: what is said of a case, the fields shown, and the ratio."""
    shown = (field.name for field in shown_in(View.COMPARE))
    return ("case", "pairing", "file", *shown, "ratio", "ratio_low", "ratio_high", "ceiling_kind", "differs_in")


def _cases(comparison: Comparison) -> Table:
    rows = [_case_row(case, entry) for case in comparison.cases for entry in case.entries]
    return Table(name="cases", columns=case_columns(), rows=tuple(rows))


def _case_row(case: MatchedCase, entry: Entry) -> tuple[Value, ...]:
    row, ratio = entry.row, entry.ratio
    values = {
        **row.fields,
        "model": row.model_or_heads,
        "case": case.label,
        "pairing": case.pairing,
        "file": entry.file.label,
        "ratio": ratio and ratio.ratio,
        "ratio_low": ratio and ratio.low,
        "ratio_high": ratio and ratio.high,
        "ceiling_kind": entry.file.ceiling_kind if row.is_kernel_or_step else None,
        "differs_in": "; ".join(entry.differs_in) or None,
    }
    return tuple(values.get(name) for name in case_columns())


def _crossovers(files: Iterable[ResultFile]) -> Table:
    """From which context sparse attention pays on each device; a line with no contexts if sparse was not measured."""
    columns = (
        "file",
        "provider",
        "model",
        "batch",
        "kv_budget",
        "page_size",
        "graph",
        "measured_context_len",
        "predicted_context_len",
        "calibrated_context_len",
        "note",
    )
    rows: list[tuple[Value, ...]] = []
    for file in files:
        pairs = speedups(paired_fields(file.rows))
        found = crossovers(pairs)
        for one in found:
            shape = (one.provider, one.model, one.batch, one.kv_budget, one.page_size, one.uses_cuda_graph)
            note = f"measured {one.measured_note}, predicted {one.predicted_note}"
            rows.append((file.label, *shape, one.measured, one.predicted, one.calibrated, note))
        if not found:
            reason = "too few contexts with both" if pairs else "no provider measured dense and block_topk in one cell"
            rows.append((file.label, *(None,) * 9, reason))
    return Table(name="crossovers", columns=columns, rows=tuple(rows))


def paired_fields(rows: Iterable[ResultRow]) -> list[dict[str, Any]]:
    """Fields of the rows that a dense/sparse ratio can be made of, as complete as `kinetics.results.speedup` needs.

    Published rows may leave their page size and cache state unstated.
    """
    unstated = {"calibrated_s": None, "graph": False, "page_size": None, "cache_state": None}
    needed = ("provider", "model", "batch", "context_len", "dtype", "predicted_s")
    complete = (row for row in rows if all(row.fields.get(name) for name in needed))
    usable = (row for row in complete if row.fields["operation"] == "dense" or row.fields.get("kv_budget"))
    return [{**unstated, **row.fields, "median_s": row.median_s} for row in usable]


def prediction_table(files: Iterable[ResultFile]) -> Table:
    """Per file, provider and operation: measured over predicted, and the calibrated error on held-out cases."""
    columns = (
        "file", "provider", "operation", "num_cases", "median_measured_over_predicted", "held_out_median_abs_error",
        "held_out_p90_abs_error", "num_held_out",
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for file in files:
        groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in file.rows:
            if row.is_kernel_or_step and row.fields["predicted_s"]:
                name = str(row.fields.get("provider")), str(row.fields["operation"])
                groups[name].append({**row.fields, "median_s": row.median_s})
        rows += [(file.label, *name, *_errors(group)) for name, group in groups.items()]
    return Table(name="predictions", columns=columns, rows=tuple(rows))


def _errors(group: Sequence[dict[str, Any]]) -> tuple[Value, ...]:
    ratio = statistics.median(row["median_s"] / row["predicted_s"] for row in group)
    errors = sorted(calibration_errors(group, "held_out"))
    if not errors:
        return (len(group), ratio, None, None, None)
    p90 = errors[min(len(errors) - 1, math.ceil(0.9 * len(errors)) - 1)]
    return (len(group), ratio, statistics.median(errors), p90, len(errors))


def left_out_table(left_out: Iterable[UnusedRow]) -> Table:
    """What took no part, together where file, kind and reason agree."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for item in left_out:
        groups[item.file, item.kind.value, item.reason].append(item.name)
    rows = [
        (file, kind, len(names), ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else ""), reason)
        for (file, kind, reason), names in groups.items()
    ]
    return Table(name="left_out", columns=("file", "kind", "num_names", "names", "reason"), rows=tuple(rows))


def _doubts(comparison: Comparison) -> list[str]:
    """Rows that moved their bytes faster than the ceiling, counted per file."""
    lines = []
    for file in comparison.files:
        odd = [row for row in file.rows if (row.fields.get("fraction_of_ceiling") or 0.0) > MAX_FRACTION_OF_CEILING]
        if odd:
            lines.append(
                f"{file.label}: {len(odd)} rows (such as {odd[0].name}) beat the {file.ceiling_kind} ceiling by over "
                "10 %: their data stayed in cache, or the ceiling is wrong"
            )
    return lines
