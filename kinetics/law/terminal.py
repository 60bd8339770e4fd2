"""Tables of the law as a terminal shows them: shares and times with their units, no column that says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kinetics.tables.display import Column, table_for_people, table_records
from kinetics.tables.quantity import Quantity, tell
from kinetics.tables.table import Table, Value

_SHARES: Final = frozenset({
    "accuracy", "low", "high", "right", "cut_off", "wrong", "answers_right", "answers_cut_off", "answers_wrong",
    "dense_maximum_accuracy", "oracle_dense_maximum",
})  # fmt: skip
_SHARES_BY_NUMBER: Final = ("pass_at_", "majority_at_", "weighted_majority_at_")


def text_for_people(table: Table) -> str:
    """The table's name and its rows; empty without rows."""
    if not table.rows:
        return ""
    shown = _short_answer(table) if table.name == "answer" else table
    named = table_for_people(shown, {name: _column(name) for name in shown.columns})
    return f"\n{table.name.replace('_', ' ')}\n{named.as_text()}"


def _column(name: str) -> Column:
    if name in _SHARES or name.startswith(_SHARES_BY_NUMBER):
        return Column(name=name, quantity=Quantity.SHARE)
    return Column(name=name, quantity=Quantity.SECONDS if "seconds" in name else Quantity.NUMBER)


def _short_answer(table: Table) -> Table:
    """Accuracy with its interval, time, dollars if any, and the strategy in words; the CSV has the rest."""
    columns = ("if", "accuracy", "95 %", "time", "$ a right answer", "model", "attention", "how")
    rows = []
    for row in table_records(table):
        low, high = (round(100 * float(row[end] or 0.0)) for end in ("low", "high"))
        dollars = row.get("dollars_per_right_answer")
        rows.append((
            row["if"], row["accuracy"], f"{low}-{high} %", tell(row["seconds"], Quantity.SECONDS),
            None if dollars is None else f"{float(dollars):.4f}", _model_name(row), row["attention"], _how(row),
        ))  # fmt: skip
    return Table(name=table.name, columns=columns, rows=tuple(rows))


def _model_name(row: Mapping[str, Value]) -> str:
    return f"{row['model']}{'' if row['lengths'] == 'tokens' else ' (lengths estimated)'}"


def _how(row: Mapping[str, Value]) -> str:
    trials, cap = row["trials"], row["max_generated"]
    until = "" if cap is None else f" to {cap:,}"
    if row["rule"] == "pass":
        return f"one answer{until}" if trials == 1 else f"best of {trials}{until}"
    if row["agree"] is not None:
        return f"{trials} at most, until {row['agree']} agree"
    return f"{str(row['rule']).replace('_', ' ')} of {trials}{until}"
