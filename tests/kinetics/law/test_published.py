"""The published curves, what follows from them, and the verdict on every claim."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from kinetics.law.claims import LONG_COT, Evidence, kv_growth_per_doubling
from kinetics.law.document import law_document
from kinetics.law.frontier import accuracy_at
from kinetics.law.published import (
    ClaimData,
    ClaimStatus,
    Rule,
    published_dir,
    read_claims,
    read_others_figures,
    read_published_curves,
)
from kinetics.law.report import published_report
from kinetics.law.verdicts import check_claim, check_claims
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


def test_every_claim_of_the_paper_and_of_others_has_a_verdict(report):
    assert {checked.claim.claim for checked in report.claims} == {f"C{i}" for i in range(1, 20)} | {
        f"S{i}" for i in range(1, 8)
    }


def test_no_verdict_differs_from_the_record(report):
    assert [checked.claim.key for checked in report.claims if checked.has_changed] == []


def test_a_verdict_says_what_was_found(report):
    for checked in report.claims:
        assert (checked.found is None) == (checked.status is ClaimStatus.NEEDS_DATA)
        assert checked.rule
        if checked.status is ClaimStatus.HOLDS_WITH_CAVEAT:
            assert checked.caveat


def test_a_changed_curve_changes_a_verdict_and_is_noticed(report):
    task = report.tasks[0]
    dense, sparse = task.oracle
    evidence = Evidence(curves={}, frontiers={(LONG_COT, kind): dense for kind in PolicyKind}, numbers={})
    checked = {c.claim.key: c for c in check_claims(read_claims(), evidence)}
    assert checked["longcot_gain_at_80ms"].status is ClaimStatus.FAILS
    assert checked["longcot_gain_at_80ms"].has_changed
    assert sparse.accuracy.max() > dense.accuracy.max()


def test_the_document_says_the_same_as_the_report(report):
    document = law_document(report)
    (task,) = document["tasks"]
    assert len(task["curves"]) == 12
    assert [len(frontier["accuracy"]) for frontier in task["frontiers"]] == [100, 100]
    assert len(task["switch_points"]) == sum(len(s) for s in report.tasks[0].switches.values())
    assert {claim["status"] for claim in document["claims"]} == {status.value for status in ClaimStatus}


def claim_of(key, **changes):
    return replace(next(claim for claim in read_claims() if claim.key == key), **changes)


NOTHING = Evidence(curves={}, frontiers={}, numbers={})


@pytest.mark.parametrize(
    ("rule", "found", "is_met"),
    [
        (Rule.WITHIN, 10.5, True), (Rule.WITHIN, 10.6, False), (Rule.WITHIN, 9.4, False),
        (Rule.AT_LEAST, 9.5, True), (Rule.AT_LEAST, 900.0, True), (Rule.AT_LEAST, 9.4, False),
        (Rule.AT_MOST, 10.5, True), (Rule.AT_MOST, 0.1, True), (Rule.AT_MOST, 10.6, False),
    ],
)  # fmt: skip
def test_a_rule_is_an_inequality_where_the_claim_is_one(rule, found, is_met):
    claim = claim_of("sampled_pass1:Qwen3-8B", rule=rule, published=10.0, tolerance=0.5, caveat="")
    checked = check_claim(claim, replace(NOTHING, numbers={claim.key: found}))
    assert checked.status is (ClaimStatus.HOLDS if is_met else ClaimStatus.FAILS)
    assert checked.data is ClaimData.SAMPLES


def test_what_restates_itself_is_not_independent_unless_it_fails():
    claim = claim_of("doubling_factor:0.25")
    assert check_claim(claim, NOTHING).status is ClaimStatus.NOT_INDEPENDENT
    assert check_claim(replace(claim, published=1.3), NOTHING).status is ClaimStatus.FAILS


def test_the_papers_own_curves_restate_its_figures_and_samples_do_not(report):
    (task,) = report.tasks
    frontiers = {(LONG_COT, found.kind): found for found in task.oracle}
    claim = claim_of("longcot_gain_at_80ms")
    own, samples = (replace(NOTHING, frontiers=frontiers, is_papers=is_papers) for is_papers in (True, False))
    assert check_claim(claim, own).status is ClaimStatus.NOT_INDEPENDENT
    assert check_claim(claim, samples).status is ClaimStatus.HOLDS
    assert check_claim(claim, samples).data is ClaimData.SAMPLES


def test_a_caveat_stands_beside_what_holds_and_goes_when_samples_say_it():
    claim = claim_of("sampled_pass1:Qwen3-8B")
    assert check_claim(claim, NOTHING).status is ClaimStatus.HOLDS_WITH_CAVEAT
    assert check_claim(claim, NOTHING).found == read_others_figures()[claim.key]
    sampled = check_claim(claim, replace(NOTHING, numbers={claim.key: claim.published}))
    assert (sampled.status, sampled.caveat) == (ClaimStatus.HOLDS, "")


def test_the_gain_of_over_five_points_lasts_almost_to_the_end_of_the_grid(report):
    checked = {c.claim.key: c for c in report.claims}["longcot_share_above:5"]
    dense, sparse = report.tasks[0].oracle
    above = dense.cost[100 * (sparse.accuracy - dense.accuracy) > 5]
    assert above[-1] == pytest.approx(18_652, abs=1)
    assert checked.status is ClaimStatus.HOLDS_WITH_CAVEAT
    assert "18,652" in checked.caveat


def test_the_growth_of_the_cache_depends_on_what_is_fitted():
    assert kv_growth_per_doubling() == pytest.approx(1.189, abs=5e-4)
    assert kv_growth_per_doubling(is_logarithmic=True) == pytest.approx(1.150, abs=5e-4)


def test_measured_kernels_settle_what_others_print(report):
    found = {c.claim.key: c for c in report.claims}
    dsa = found["smallest_measured_speedup:dsa:64:131072"]
    assert dsa.found == pytest.approx(3.72, abs=0.01)
    assert dsa.status is ClaimStatus.HOLDS_WITH_CAVEAT
    assert found["msa_at_1m"].status is ClaimStatus.NEEDS_DATA
