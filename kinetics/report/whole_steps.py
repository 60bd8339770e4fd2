"""Whole decode steps as a buyer asks: tokens a second, the largest batch that fits, dollars a million tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from kinetics.results.field import Role
from kinetics.results.fields import COLUMNS, with_role
from kinetics.results.reader import ResultFile
from kinetics.results.row import ResultRow
from kinetics.tables.display import Column, table_for_people
from kinetics.tables.quantity import Quantity
from kinetics.tables.table import Table, Value

_MILLION, _SECONDS_AN_HOUR = 10**6, 3600
_MOST_TOKENS: Final = 2**40
NONE_FITS: Final = "none"
"""Instead of a largest batch where the weights alone are too large."""
_HEADINGS: Final = COLUMNS | {
    "attention": Column(name="attention"),
    "step_s": Column(name="step_s", quantity=Quantity.SECONDS, heading="step, all layers"),
    "how": Column(name="how"),
    "speedup": Column(name="speedup", quantity=Quantity.SPEEDUP, heading="over dense"),
    "largest_batch": Column(name="largest_batch", heading="largest batch"),
    "dollars_per_million_tokens": Column(
        name="dollars_per_million_tokens", quantity=Quantity.NUMBER, heading="$ / million tokens"
    ),
}


def parse_prices(text: str, files: Iterable[ResultFile]) -> dict[str, float]:
    """Dollars an hour by the letter of a file: `3.50` for all, or `A=3.50,C=6`.

    Raises: ValueError for a price that is no number above 0, or a letter that no file has.
    """
    letters = [file.letter for file in files]
    if not text.strip():
        return {}
    if "=" not in text:
        return dict.fromkeys(letters, _dollars(text))
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    unknown = [name.strip() for name, _, _ in pairs if name.strip() not in letters]
    if unknown:
        raise ValueError(f"--dollars-per-hour must price files by letter, {', '.join(letters)}, got {unknown[0]!r}")
    return {name.strip(): _dollars(amount) for name, _, amount in pairs}


def _dollars(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 < amount < 1e6:
        raise ValueError(f"--dollars-per-hour must be a number above 0, such as 3.50 or A=3.50, got {text!r}")
    return amount


def step_table(files: Iterable[ResultFile], dollars_per_hour: Mapping[str, float]) -> Table:
    """One line per file, model, attention, batch and context: the step of all layers, as people read it."""
    columns = (
        "model", "attention", "batch", "context_len", "kv_budget", "tokens_per_s", "speedup", "largest_batch",
        "dollars_per_million_tokens", "step_s", "how", "dtype", "file", "disturbed",
    )  # fmt: skip
    rows = []
    for file in files:
        steps = _whole_steps(file)
        for row in steps:
            values = _values(file, row, steps, dollars_per_hour.get(file.letter))
            rows.append(tuple(values[name] for name in columns))
    return table_for_people(Table(name="steps", columns=columns, rows=tuple(rows)), _HEADINGS)


def _whole_steps(file: ResultFile) -> list[ResultRow]:
    """Of the rows that tell one step, the one with most layers: measured rather than extrapolated."""
    best: dict[tuple[Any, ...], ResultRow] = {}
    for row in file.rows:
        if row.fields.get("num_layers") and row.fields.get("full_model_s") and row.fields.get("tokens_per_s"):
            key = _key(row)
            if key not in best or row.fields["num_layers"] > best[key].fields["num_layers"]:
                best[key] = row
    return list(best.values())


def _key(row: ResultRow) -> tuple[Any, ...]:
    names = [*with_role(Role.WORK), *with_role(Role.MANNER)]
    return tuple(row.fields.get(name) for name in names if name != "num_layers")


def _values(file: ResultFile, row: ResultRow, steps: list[ResultRow], price: float | None) -> dict[str, Value]:
    fields = row.fields
    dense = next((one for one in steps if _is_dense_twin(one, row)), None)
    tokens_per_s = fields["tokens_per_s"]
    is_extrapolated = fields.get("full_model_is_extrapolated")
    return {
        **{name: fields.get(name) for name in ("model", "batch", "context_len", "kv_budget", "dtype", "disturbed")},
        "attention": str(fields["operation"]).removeprefix("step_"),
        "file": file.label,
        "step_s": fields["full_model_s"],
        "how": f"from {fields['num_layers']} layers" if is_extrapolated else "measured",
        "tokens_per_s": tokens_per_s,
        "speedup": dense.fields["full_model_s"] / fields["full_model_s"] if dense and dense is not row else None,
        "largest_batch": _shown_batch(largest_batch(file, row)),
        "dollars_per_million_tokens": _MILLION * price / _SECONDS_AN_HOUR / tokens_per_s if price else None,
    }


def _shown_batch(count: int | None) -> str | None:
    if count is None:
        return None
    return f"{count:,}" if count else NONE_FITS


def _is_dense_twin(one: ResultRow, row: ResultRow) -> bool:
    same = ("model", "batch", "context_len", "dtype", "kv_dtype", "cache_state", "graph", "page_size")
    is_same = all(one.fields.get(name) == row.fields.get(name) for name in same)
    return is_same and one.fields["operation"] == "step_dense"


def largest_batch(file: ResultFile, row: ResultRow) -> int | None:
    """Requests of this context that the device holds at most beside the weights; None if model or memory is unknown.

    Arithmetic, not measured: nine tenths of the memory, as servers use it.
    """
    from kinetics.prediction.step_sweep import USABLE_FRACTION, step_memory_of

    facts = file.identity.facts
    memory_bytes = facts.get("device_memory_bytes") or facts.get("total_memory_bytes")
    if isinstance(memory_bytes, bool | str | None) or not (row.fields.get("context_len") or 0) < _MOST_TOKENS:
        return None
    try:
        one = _step_query(row)
        per_request = step_memory_of(replace(one, batch=2)).num_bytes - step_memory_of(one).num_bytes
        free = int(USABLE_FRACTION * memory_bytes) - (step_memory_of(one).num_bytes - per_request)
    except ValueError:  # a model or an element type that no table has
        return None
    return max(0, free // per_request)


def _step_query(row: ResultRow) -> Any:
    """Raises: ValueError for a model, an element type or a budget that cannot be."""
    from kinetics.prediction.step_silicon import StepQuery
    from kinetics.specs.cache_formats import find_cache_format
    from kinetics.specs.models import find_model
    from kinetics.specs.policies import BlockTopK
    from kinetics.specs.weight_formats import same_format

    fields = row.fields
    page, budget = fields.get("page_size") or 0, fields.get("kv_budget") or 0
    return StepQuery(
        architecture=find_model(str(fields.get("model"))).architecture,
        batch=1,
        context_len=fields.get("context_len") or 1,
        num_devices=1,
        policy=BlockTopK(block_size=page, top_blocks=budget // page) if 0 < page <= budget else None,
        cache=find_cache_format(str(fields.get("kv_dtype") or fields.get("dtype"))),
        weights=same_format(str(fields.get("dtype"))),
    )
