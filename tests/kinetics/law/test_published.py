"""The published curves, what follows from them, and the verdict on every claim."""

import csv

import numpy as np
import pytest

from kinetics.law.claims import LONG_COT, check_claims
from kinetics.law.document import law_document
from kinetics.law.frontier import accuracy_at
from kinetics.law.published import ClaimStatus, published_dir, read_claims, read_published_curves
from kinetics.law.report import published_report
from kinetics.specs.policies import PolicyKind

PUBLISHED_SWITCHES = [
    ("1.7B", 151), ("4B", 230), ("32B", 531), ("1.7B", 655), ("4B", 807), ("14B", 1067), ("4B", 1622), ("14B", 2145),
    ("4B", 3040), ("14B", 3260),
]  # fmt: skip


@pytest.fixture(scope="module")
def report():
    return published_report()


def test_all_1200_published_values_are_restated():
    curves = read_published_curves()
    assert [(c.kind.value, c.model) for c in curves[:2]] == [("dense", "Qwen3-0.6B"), ("dense", "Qwen3-1.7B")]
    assert sum(curve.accuracy.size for curve in curves) == 1200
    with (published_dir() / "longcot_topk_aime24.csv").open(newline="") as file:
        quanta = [float(row["accuracy_smoothed3"]) * 2880 for row in csv.DictReader(file)]
    assert np.abs(np.array(quanta) - np.round(quanta)).max() < 0.01


def test_the_gains_are_those_of_the_published_figure(report):
    (gain,) = report.tasks[0].gains
    assert gain.lead is None, "the published curves are the oracle's, and nobody can cross-validate them"
    gain = gain.oracle
    assert gain.points == pytest.approx(54.7, abs=0.05)
    assert gain.cost / report.tera_eflop_per_s == pytest.approx(0.110, abs=5e-4)
    assert gain.dense_maximum == pytest.approx(0.778, abs=5e-4)
    assert gain.cost_ratio == pytest.approx(11.2, abs=0.05)
    assert gain.cost_ratio_on_grid == pytest.approx(10.7, abs=0.05)


def test_the_gain_between_grid_points_at_80_ms(report):
    dense, sparse = report.tasks[0].oracle
    cost = 0.08 * report.tera_eflop_per_s
    assert 100 * (accuracy_at(cost, sparse) - accuracy_at(cost, dense)) == pytest.approx(48.2, abs=0.05)


def test_the_dense_frontier_switches_where_the_published_one_does(report):
    switches = report.tasks[0].switches[PolicyKind.DENSE]
    assert [switch.model for switch in switches] == [f"Qwen3-{size}" for size, _ in PUBLISHED_SWITCHES]
    for switch, (_, cost) in zip(switches, PUBLISHED_SWITCHES, strict=True):
        assert switch.cost == pytest.approx(cost, rel=0.072)  # one grid step


def test_every_claim_from_c1_to_c19_has_a_verdict(report):
    assert {checked.claim.claim for checked in report.claims} == {f"C{i}" for i in range(1, 20)}


def test_no_verdict_differs_from_the_record(report):
    assert [checked.claim.key for checked in report.claims if checked.has_changed] == []


def test_a_verdict_says_what_was_found(report):
    for checked in report.claims:
        lacks_evidence = checked.status in (ClaimStatus.NEEDS_TRACES, ClaimStatus.NEEDS_MEASUREMENT)
        assert (checked.found is None) == lacks_evidence


def test_a_changed_curve_changes_a_verdict_and_is_noticed(report):
    from kinetics.law.claims import Evidence

    task = report.tasks[0]
    dense, sparse = task.oracle
    evidence = Evidence(curves={}, frontiers={(LONG_COT, kind): dense for kind in PolicyKind}, numbers={})
    checked = {c.claim.key: c for c in check_claims(read_claims(), evidence)}
    assert checked["longcot_gain_at_80ms"].status is ClaimStatus.NOT_REPRODUCED
    assert checked["longcot_gain_at_80ms"].has_changed
    assert sparse.accuracy.max() > dense.accuracy.max()


def test_the_document_says_the_same_as_the_report(report):
    document = law_document(report)
    (task,) = document["tasks"]
    assert len(task["curves"]) == 12
    assert [len(frontier["accuracy"]) for frontier in task["frontiers"]] == [100, 100]
    assert len(task["switch_points"]) == sum(len(s) for s in report.tasks[0].switches.values())
    assert {claim["status"] for claim in document["claims"]} == {status.value for status in ClaimStatus}
