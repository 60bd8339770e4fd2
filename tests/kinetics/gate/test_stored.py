"""Stored baselines: same machine only, canary-normalised, at least eight launches, two looks."""

import random

import pytest

from kinetics.gate.decision import Verdict
from kinetics.gate.evidence import CaseRun
from kinetics.gate.stored import is_stored_flagged, judge_stored, machine_difference, stored_baseline
from kinetics.gate.verdicts import CasePlan
from kinetics.specs.ceilings import Ceilings

MACHINE = {"device_kind": "cpu", "device": "x", "num_cpus": 2, "torch_threads": 2}
NEWER = {"identity": {"kind": "cpu", "name": "x", "num_cpus": 2, "l3_bytes": 2**25}}
SPEC = {"context_len": 512}
CEILINGS = Ceilings(
    read_bytes_per_s=1e9,
    cached_read_bytes_per_s=1e9,
    copy_bytes_per_s=1e9,
    matmul_flop_per_s=1e12,
    launch_s=1e-6,
    cache_bytes=1,
)
PLAN = CasePlan(name="case", spec=SPEC, detectable_budget=0.1)


def launches(count, *, factor=1.0, look=1, seed=1, sd=0.01, bytes_per_s=1e9, num_bytes=1000):
    rng = random.Random(seed)
    return [
        CaseRun(
            case="case",
            look=look,
            launch=number,
            first_side="candidate",
            median_s={"candidate": 1e-3 * factor * (1 + rng.gauss(0, sd)) * 1e9 / bytes_per_s},
            canary_bytes_per_s={"candidate": bytes_per_s},
            work={"num_bytes": num_bytes, "flop": 1, "num_launches": 1},
        )
        for number in range(count)
    ]


def document(runs, *, machine=MACHINE, spec=SPEC, verdict="SAME"):
    return {
        "machine_info": machine,
        "cases": [{"name": "case", "spec": spec}],
        "runs": [run.as_row() for run in runs],
        "verdicts": [{"case": "case", "verdict": verdict}],
    }


def judged(*runs, documents=None):
    baseline = stored_baseline("case", SPEC, documents or [document(launches(12, seed=9))], MACHINE)
    return judge_stored(PLAN, [run for group in runs for run in group], baseline, CEILINGS)


def test_a_slow_down_needs_two_looks_and_a_machine_at_half_speed_is_none():
    assert judged(launches(5), launches(5, look=2)).verdict is Verdict.SAME
    assert judged(launches(5, bytes_per_s=0.5e9)).verdict is Verdict.SAME
    assert judged(launches(5, factor=1.2), launches(5, factor=1.2, look=2)).verdict is Verdict.SLOW
    assert judged(launches(5, factor=0.8), launches(5, factor=0.8, look=2)).verdict is Verdict.FAST
    denied = judged(launches(5, factor=1.2), launches(5, look=2))
    assert (denied.verdict, denied.reason) == (Verdict.AMBIGUOUS, "SLOW at the first look, not at the second")
    assert judged(launches(5, factor=1.2)).verdict is Verdict.AMBIGUOUS


def test_a_time_that_the_ceiling_rules_out_is_invalid_here_too():
    impossible = [launches(5, factor=0.5, look=look, num_bytes=10**7) for look in (1, 2)]
    found = judged(*impossible)
    assert found.verdict is Verdict.INVALID
    assert "faster than its work allows" in found.reason


def test_a_shift_that_a_restless_baseline_explains_is_ambiguous():
    restless = document(launches(12, sd=0.15, seed=3))
    baseline = stored_baseline("case", SPEC, [restless], MACHINE)
    assert judge_stored(PLAN, launches(5, factor=1.3), baseline, CEILINGS).verdict is Verdict.AMBIGUOUS
    assert not is_stored_flagged(launches(5, factor=1.3), baseline)


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        ([document(launches(7))], "hold 7 launches of it, 8 are needed"),
        ([document(launches(12), machine=MACHINE | {"device": "y"})], "name: x, y"),
        ([document(launches(12), machine=MACHINE | {"torch_threads": 1})], "threads: 2, 1"),
        ([document(launches(12), machine=MACHINE | NEWER)], "does not tell L3"),
        ([document(launches(12), spec={"context_len": 1024})], "hold 0 launches"),
        ([document(launches(12), verdict="SLOW")], "hold 0 launches"),
    ],
)
def test_what_cannot_be_compared_is_incomparable_and_says_why(documents, reason):
    found = judged(launches(5), documents=documents)
    assert found.verdict is Verdict.INCOMPARABLE
    assert reason in found.reason


def test_a_baseline_rolls_over_several_files():
    baseline = stored_baseline("case", SPEC, [document(launches(5, seed=s)) for s in (1, 2)], MACHINE)
    assert len(baseline.log_values) == 10
    assert baseline.incomparable is None


def test_machines_differ_by_what_changes_times():
    assert machine_difference(MACHINE, MACHINE | {"python_version": "3.13"}) is None
    gpu = {
        "device_kind": "cuda",
        "device": "H100",
        "nvidia_smi.driver_version": "570",
        "nvidia_smi.power.limit": "700 W",
    }
    assert machine_difference(gpu, gpu | {"nvidia_smi.driver_version": "580"}) == "driver: 570, 580"
    assert machine_difference(gpu, gpu | {"nvidia_smi.power.limit": "500 W"}) == "power limit: 700 W, 500 W"


@pytest.mark.parametrize(("verdict", "is_taken"), [("SAME", True), ("FAST", True), ("AMBIGUOUS", True),
                                                   ("SLOW", False), ("INVALID", False), ("WRONG", False)])  # fmt: skip
def test_only_launches_of_a_right_candidate_that_was_not_slow_become_a_baseline(verdict, is_taken):
    baseline = stored_baseline("case", SPEC, [document(launches(12), verdict=verdict)], MACHINE)
    assert (len(baseline.log_values) == 12) is is_taken


@pytest.mark.parametrize(("wrong_sides", "verdict"), [(["candidate"], Verdict.WRONG), ([], Verdict.INVALID)])
def test_a_candidate_that_computes_it_wrongly_is_wrong_and_one_that_cannot_run_it_invalid(wrong_sides, verdict):
    refused = CaseRun(
        case="case", look=1, launch=0, first_side="candidate", refusals={"candidate": "errs"}, wrong_sides=wrong_sides
    )
    assert judged([refused]).verdict is verdict
