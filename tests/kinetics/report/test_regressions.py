"""Regressions: like devices alone, equal factors equally far from 1, and nothing said of disturbed rows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.report.page import render_page
from kinetics.report.regressions import DISTURBED, FASTER, OPEN, SLOWER, place, ratio_table
from kinetics.report.sources import read_sources
from kinetics.report.style import ratio_reach, ratio_ticks

SPREAD = [1e-3 * (1 + i / 100) for i in range(9)]


def times(factor):
    return [factor * s for s in SPREAD]


@pytest.fixture
def against(result, row):
    """The table of a new run with these factors, one a context, against a baseline where all are 1."""

    def table(factors, **fields):
        contexts = [1024 * (i + 1) for i in range(len(factors))]
        old = result("old.json", [row(context_len=c, samples=SPREAD) for c in contexts])
        rows = [row(context_len=c, samples=times(f), **fields) for c, f in zip(contexts, factors, strict=True)]
        return ratio_table(read_sources([result("new.json", rows)], baseline=old).regressions[0])

    return table


def test_slower_faster_and_open_are_told_apart_and_counted(against):
    table = against([2.0, 0.5, 1.0])
    assert [line.verdict for line in table.lines] == [SLOWER, FASTER, OPEN]
    assert (table.num_cases, table.num_slower, table.num_faster, table.num_disturbed) == (3, 1, 1, 0)
    slower = table.lines[0]
    assert slower.ratio == "2.000"
    assert slower.low < slower.middle < slower.high


def test_a_disturbed_row_is_neither_slower_nor_faster(against):
    table = against([2.0, 0.5], disturbed="other programs took 40 % of the CPUs")
    assert {line.verdict for line in table.lines} == {DISTURBED}
    assert (table.num_slower, table.num_faster, table.num_disturbed) == (0, 0, 2)


def test_ratios_lie_on_a_logarithmic_axis_with_1_in_its_middle(against):
    double, half = against([2.0, 0.5]).lines
    assert double.middle - 50 == pytest.approx(50 - half.middle)
    assert double.middle > 55


@given(st.floats(1e-6, 1e6), st.floats(1.3, 1e6))
def test_equal_factors_are_equally_far_and_nothing_leaves_the_axis(ratio, reach):
    assert place(ratio, reach) + place(1 / ratio, reach) == pytest.approx(100)
    assert 0 <= place(ratio, reach) <= 100
    assert place(reach, reach) == pytest.approx(100)
    assert (place(ratio, reach) > 50) == (ratio > 1) or math.isclose(ratio, 1, rel_tol=1e-9)


@given(st.floats(1e-300, 1e300))
def test_an_axis_of_ratios_has_few_labels_within_it_and_1_in_the_middle(farthest):
    reach = ratio_reach([farthest])
    ticks = list(ratio_ticks(reach))
    assert ticks == sorted(ticks)
    assert ticks[len(ticks) // 2] == 1.0
    assert 3 <= len(ticks) <= 9
    assert all(1 / reach <= tick * (1 + 1e-9) and tick <= reach for tick in ticks)


def test_files_of_another_device_are_named_and_not_held_against_the_baseline(result, row):
    def identity(design):
        return {"kind": "cpu", "name": "Made CPU", "microarchitecture": design}

    old = result("old.json", [row(samples=SPREAD)], identity=identity("zen3"))
    same = result("same.json", [row(samples=times(2))], identity=identity("zen3"))
    other = result("other.json", [row(samples=times(3))], identity=identity("zen5"))
    sources = read_sources([same, other], baseline=old)
    assert [comparison.files[1].path for comparison in sources.regressions] == [same]
    page = render_page(sources, title="t")
    assert "B Made CPU (zen5): not of the baseline's device (microarchitecture: zen3, zen5), not compared." in page


def test_facts_that_only_one_file_tells_are_said_to_be_unknown(result, row):
    told = {"kind": "cpu", "name": "Made CPU"}
    old = result("old.json", [row(samples=SPREAD)], identity=told)
    new = result("new.json", [row(samples=times(2))], identity=told | {"l3_bytes": 2**25})
    (comparison,) = read_sources([new], baseline=old).regressions
    assert "Only one of the two files tells L3: the devices may differ in these." in ratio_table(comparison).remarks
