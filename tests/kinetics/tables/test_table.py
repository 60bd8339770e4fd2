"""Tables carry names of strangers: a spreadsheet that opens one computes nothing."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics.tables.table import Table


def cells(*values):
    table = Table(name="t", columns=tuple(f"c{i}" for i in range(len(values))), rows=(values,))
    return list(csv.reader(io.StringIO(table.as_csv(), newline="")))[1]


@pytest.mark.parametrize(
    "name",
    [
        "=1+1", "=cmd|'/c calc'!A1", "+cmd|'/c calc'!A1", "-2+3+cmd|'/c calc'!A1", "@SUM(1+1)", " =1+1", "=", "@",
        "\uff1d1+1", "-1-1", "+A1", '=HYPERLINK("http://x","y")', "-5e", "-1+A1", "-1,=A1",
    ],
)  # fmt: skip
def test_a_name_that_is_a_formula_becomes_text(name):
    assert cells(name) == [f"'{name}"]


@pytest.mark.parametrize("name", ["a\r=1+1", "a\n=1+1", "\t=1+1", "a\x00b", "a\u2028=1"])
def test_a_name_ends_no_row(name):
    assert cells(name) == ["".join(char if char.isprintable() else "?" for char in name)]


@pytest.mark.parametrize(
    "name", ["Qwen3-8B", "a=b", "'quoted", "", "-", "-5", "+5 %", "-1.5", "-1.5e-3", "+1,000", "-2 ms", "dense", "a@b"]
)
def test_other_text_is_as_it_was(name):
    assert cells(name) == [name]


def test_numbers_below_zero_stay_numbers():
    assert cells(-1, -0.5, -1e-30, True, None) == ["-1", "-0.5", "-1e-30", "yes", ""]


def test_a_column_that_is_a_formula_becomes_text():
    assert Table(name="t", columns=("=a",), rows=()).as_csv() == "'=a\n"


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n A1(|'5%,.e"), max_size=8))
def test_no_cell_starts_as_a_formula_does_unless_it_is_a_number(text):
    (cell,) = cells(text)
    start = cell.lstrip()
    assert not start.startswith(("=", "@"))
    assert not start.startswith(("+", "-")) or not set(start[1:].lower().replace("e-", "").replace("e+", "")) & set(
        "+-@=A(|"
    )
