"""Every field is declared once, every published row is made of declared fields, and a new field shows everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.bench import summary
from kinetics.compare import tables
from kinetics.compare.comparison import compare_files
from kinetics.compare.tables import comparison_tables
from kinetics.report import row_table
from kinetics.results import fields as declared
from kinetics.results.field import Field, Role, Rows, View
from kinetics.results.fields import BY_NAME, CASE_FIELDS, FIELDS, check_fields, fields_of
from kinetics.results.reader import UnusedKind, read_result_files
from kinetics.tables.quantity import Quantity
from tests.support.paths import ROOT
from tests.support.result_rows import make_row

PUBLISHED = sorted(ROOT.glob("results/*/*.json"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [bench["extra_info"] for bench in json.loads(path.read_text())["benchmarks"]]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_published_rows_are_made_of_declared_fields_and_none_is_invalid(path: Path) -> None:
    for row in rows_of(path):
        assert not row.keys() - BY_NAME.keys(), row["operation"]
        check_fields(row)
    (file,) = read_result_files([path])
    assert len(file.rows) == len(rows_of(path))
    assert not [item for item in file.left_out if item.kind is UnusedKind.INVALID]


def test_no_field_is_declared_twice_and_each_says_what_it_means() -> None:
    assert len(BY_NAME) == len(FIELDS)
    assert all(field.meaning for field in FIELDS)
    assert {"operation", "provider", "kv_dtype", "task", "graph"} <= set(CASE_FIELDS)
    assert "median_s" not in CASE_FIELDS


def test_every_quantity_of_a_shown_field_is_known_to_the_page() -> None:
    script = (ROOT / "kinetics/report/page.js").read_text(encoding="utf-8")
    shown = script[script.index("const shown") : script.index("const escapes")]
    for quantity in Quantity:
        if quantity.is_number:
            assert re.search(rf"\b{quantity.value}\b", shown), quantity


@pytest.fixture
def new_field(monkeypatch: pytest.MonkeyPatch) -> Field:
    """A field that nobody has heard of, declared as any other."""
    field = Field(
        name="stall_s",
        quantity=Quantity.SECONDS,
        heading="stalled",
        meaning="made up",
        rows=Rows.KERNEL,
        view=View.EVERYWHERE,
    )
    every = (*FIELDS, field)
    monkeypatch.setattr(declared, "FIELDS", every)
    monkeypatch.setattr(declared, "BY_NAME", {one.name: one for one in every})
    declared._row_type.cache_clear()
    monkeypatch.setattr(tables, "HEADINGS", tables.HEADINGS | {"stall_s": field.column})
    return field


@pytest.fixture(autouse=True)
def _forget_made_fields() -> Any:
    yield
    declared._row_type.cache_clear()


def test_a_field_that_is_declared_shows_in_summary_compare_and_report(new_field: Field, result: Any) -> None:
    rows = [make_row(context_len=context, stall_s=0.25) for context in (1024, 2048)]
    files = read_result_files([result("a.json", rows), result("b.json", rows, slug="other")])
    text = summary.rows_table([row["extra_info"] | {"iqr_fraction": 0.1} for row in rows])
    assert new_field.heading in [column.header for column in text.columns]
    assert "stall_s" in fields_of(Rows.KERNEL)
    assert "stalled" in [column["title"] for column in row_table.page_columns(row_table.shown_fields(files))]
    cases = next(one for one in comparison_tables(compare_files(files)) if one.name == "cases")
    assert {row[cases.columns.index("stall_s")] for row in cases.rows} == {0.25}
    bad = make_row(stall_s="long")
    with pytest.raises(ValueError, match="stall_s must be a finite number of at least 0, got 'long'"):
        check_fields(bad["extra_info"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(BY_NAME)), json_values)
def test_any_value_in_any_field_is_taken_or_refused_in_one_line(name: str, value: Any) -> None:
    row, field = {"operation": "dense"} | {name: value}, BY_NAME[name]
    try:
        check_fields(row)
        complaint = ""
    except ValueError as error:
        complaint = str(error)
    if complaint:
        assert complaint.startswith(f"{name} must be {field.rule}, got ")
        assert "\n" not in complaint
    else:
        assert value is None or is_of_kind(field, value)


def is_of_kind(field: Field, value: Any) -> bool:
    """The rule again, said in plain Python."""
    if field.form.value == "by name":
        return isinstance(value, dict)
    if field.form.value == "list":
        return isinstance(value, list)
    if field.quantity is Quantity.TEXT:
        return isinstance(value, str)
    if field.quantity is Quantity.FLAG:
        return isinstance(value, bool)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and (field.least is None or value >= field.least) and abs(value) < float("inf")


def test_counts_of_work_are_above_zero_and_counts_of_findings_may_be_zero() -> None:
    for field in FIELDS:
        if field.quantity in (Quantity.COUNT, Quantity.TOKENS) and field.form.value == "one":
            row = {"operation": "dense", field.name: 0}
            if field.role is Role.MEASUREMENT:
                check_fields(row)
            else:
                with pytest.raises(ValueError, match="must be a count above 0, got 0"):
                    check_fields(row)
