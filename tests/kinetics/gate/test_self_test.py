"""What a machine's own A/A file changes, and what the gate says of cases that the file tells nothing of."""

from __future__ import annotations

import random
from dataclasses import asdict

import pytest

from kinetics.gate.cases import GateGrid, gate_cases
from kinetics.gate.decision import MIN_MARGIN
from kinetics.gate.evidence import CaseRun
from kinetics.gate.self_test import case_plans
from kinetics.specs.ceilings import Ceilings

MACHINE = {"device_slug": "here", "num_cpus": 2}
CASES = gate_cases(GateGrid.SMOKE, "cpu")
CEILINGS = Ceilings(
    read_bytes_per_s=1e9,
    cached_read_bytes_per_s=1e9,
    copy_bytes_per_s=1e9,
    matmul_flop_per_s=1e12,
    launch_s=1e-6,
    cache_bytes=1,
)


def document_of(cases, *, num_launches, sd=0.03):
    rng = random.Random(1)
    runs = [
        CaseRun(
            case=case.name,
            look=1,
            launch=launch,
            first_side="base",
            median_s={"base": 1e-3, "candidate": 1e-3},
            canary_bytes_per_s={"base": 1e9, "candidate": 1e9},
            log_ratios={"candidate": rng.gauss(0.0, sd)},
            work={"num_bytes": 10**6, "flop": 1, "num_launches": 2},
        )
        for launch in range(num_launches)
        for case in cases
    ]
    return {
        "machine_info": MACHINE,
        "cases": [{"name": case.name, "spec": case.spec} for case in cases],
        "runs": [run.as_row() for run in runs],
        "ceilings": asdict(CEILINGS),
    }


def plans_of(document, *, num_launches=5):
    plans, why_not = case_plans(CASES, document, MACHINE, num_launches=num_launches)
    return {plan.name: plan for plan in plans}, why_not


def test_known_cases_get_their_measured_margins_and_nothing_is_said():
    plans, why_not = plans_of(document_of(CASES, num_launches=20))
    assert why_not is None
    assert all(plan.residual_band and plan.budget == 0.25 for plan in plans.values())


def test_a_case_that_the_file_lacks_is_named_and_the_others_keep_theirs():
    plans, why_not = plans_of(document_of(CASES[:1], num_launches=20))
    assert CASES[1].name in why_not
    assert CASES[0].name not in why_not
    assert plans[CASES[0].name].residual_band is not None
    assert plans[CASES[1].name].residual_band is None


def test_more_launches_a_look_than_the_file_has_are_said():
    plans, why_not = plans_of(document_of(CASES, num_launches=20), num_launches=11)
    assert "22 launches" in why_not
    assert all(case.name in why_not for case in CASES)
    assert {plan.known_detectable for plan in plans.values()} == {None}


def test_a_case_of_the_same_name_but_another_form_is_unknown():
    document = document_of(CASES, num_launches=20)
    document["cases"][0]["spec"] = document["cases"][0]["spec"] | {"dtype": "float16"}
    plans, why_not = plans_of(document)
    assert CASES[0].name in why_not
    assert plans[CASES[0].name].known_detectable is None


@pytest.mark.parametrize("changes", [{"num_cpus": 4}, {"device_slug": "there"}])
def test_another_machine_tells_nothing(changes):
    document = document_of(CASES, num_launches=20) | {"machine_info": MACHINE | changes}
    plans, why_not = plans_of(document)
    assert "another setting" in why_not
    assert {plan.margin for plan in plans.values()} == {MIN_MARGIN}
