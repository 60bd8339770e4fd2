"""Validity before statistics; every verdict and exit code; what a known self test changes."""

import math
from dataclasses import replace

import pytest

from kinetics.gate.decision import Verdict
from kinetics.gate.evidence import CaseRun, case_run
from kinetics.gate.verdicts import CasePlan, CaseVerdict, exit_code, fastest_seen, is_flagged, judge_case
from kinetics.specs.ceilings import Ceilings

CEILINGS = Ceilings(
    read_bytes_per_s=1e9,
    cached_read_bytes_per_s=1e9,
    copy_bytes_per_s=1e9,
    matmul_flop_per_s=1e12,
    launch_s=1e-6,
    cache_bytes=1,
)
QUIET = [0.001, -0.001, 0.0, 0.0005, -0.0005]


def plan(**facts):
    return CasePlan(**{"name": "case", "spec": {}, "detectable_budget": 0.1, **facts})


def runs_of(log_ratios, *, look=1, num_bytes=10**6, candidate_s=2e-3, **facts):
    return [
        CaseRun(
            case="case",
            look=look,
            launch=number,
            first_side="base",
            median_s={"base": candidate_s / math.exp(value), "candidate": candidate_s},
            canary_bytes_per_s={"base": 0.8e9, "candidate": 0.8e9},
            log_ratios={"candidate": value},
            work={"num_bytes": num_bytes, "flop": 1, "num_launches": 2},
            others_cpu_share=0.0,
            **facts,
        )
        for number, value in enumerate(log_ratios)
    ]


def shifted(by):
    return [value + by for value in QUIET]


def verdict(*runs, **facts):
    return judge_case(plan(**facts), [run for group in runs for run in group], CEILINGS)


def test_quiet_launches_are_judged_by_their_ratio():
    assert verdict(runs_of(QUIET)).verdict is Verdict.SAME
    slow = verdict(runs_of(shifted(0.05)), runs_of(shifted(0.05), look=2))
    assert slow.verdict is Verdict.SLOW
    assert slow.ratio == pytest.approx(math.exp(0.05))
    assert slow.lower < slow.ratio < slow.upper
    assert slow.num_launches == 10


def test_a_flag_that_was_not_confirmed_yet_is_ambiguous_and_says_so():
    found = verdict(runs_of(shifted(0.05)))
    assert found.verdict is Verdict.AMBIGUOUS
    assert found.reason.startswith("SLOW at the first look, not confirmed: 0 of 0 launches")


def test_a_flag_that_new_launches_deny_is_no_flag():
    found = verdict(runs_of(shifted(0.05)), runs_of(QUIET, look=2))
    assert found.verdict is Verdict.AMBIGUOUS
    assert found.reason == "SLOW at the first look, not at the second"


def test_only_flagged_cases_get_a_second_look():
    assert is_flagged(plan(), runs_of(shifted(0.05)))
    assert is_flagged(plan(), runs_of(shifted(-0.05)))
    assert not is_flagged(plan(), runs_of(QUIET))
    assert not is_flagged(plan(margin=0.06), runs_of(shifted(0.05)))
    assert not is_flagged(plan(), runs_of([0.5, 0.5]))


def test_disturbed_launches_do_not_count():
    good, bad = runs_of(QUIET[:3]), runs_of(shifted(0.9), disturbance="other programs took 80 % of the CPUs")
    assert verdict(good, bad).num_launches == 3
    found = verdict(good[:2], bad)
    assert found.verdict is Verdict.INVALID
    assert found.reason == "2 of 7 launches count, 3 are needed: other programs took 80 % of the CPUs"


def test_a_time_below_the_roof_is_invalid_on_either_side():
    assert verdict(runs_of(QUIET, num_bytes=2 * 10**6)).verdict is Verdict.SAME
    found = verdict(runs_of(QUIET, num_bytes=3 * 10**6))
    assert found.verdict is Verdict.INVALID
    assert "faster than its work allows" in found.reason


def test_the_ceiling_is_the_fastest_read_of_the_whole_run():
    assert fastest_seen(CEILINGS, runs_of(QUIET)).read_bytes_per_s == 1e9
    slow_probe = Ceilings(
        read_bytes_per_s=1e8,
        cached_read_bytes_per_s=1e9,
        copy_bytes_per_s=1e9,
        matmul_flop_per_s=1e12,
        launch_s=1e-6,
        cache_bytes=1,
    )
    assert fastest_seen(slow_probe, runs_of(QUIET)).read_bytes_per_s == 0.8e9


@pytest.mark.parametrize(
    ("refusals", "wrong", "expected"),
    [
        ({"base": "no kernel"}, [], Verdict.NEW),
        ({"base": "wrong"}, ["base"], Verdict.NEW),
        ({"candidate": "no kernel"}, [], Verdict.MISSING),
        ({"candidate": "wrong"}, ["candidate"], Verdict.WRONG),
        ({"base": "wrong", "candidate": "wrong"}, ["base", "candidate"], Verdict.WRONG),
        ({"base": "no memory", "candidate": "no memory"}, [], Verdict.INVALID),
        ({"base": "no kernel", "candidate": "wrong"}, ["candidate"], Verdict.WRONG),
    ],
)
def test_refusals_name_the_side_and_decide_the_verdict(refusals, wrong, expected):
    run = CaseRun(case="case", look=1, launch=0, first_side="base", refusals=refusals, wrong_sides=wrong)
    found = judge_case(plan(), [run], CEILINGS)
    assert found.verdict is expected
    assert all(f"{side}: {why}" in found.reason for side, why in refusals.items())


def test_a_case_of_which_the_machine_sees_too_little_is_refused():
    found = verdict(runs_of(QUIET), known_detectable=0.13)
    assert found.verdict is Verdict.INVALID
    assert found.reason.startswith("this machine sees slow-downs from 13.0 % on, the case must show 10 %")
    assert verdict(runs_of(QUIET), known_detectable=0.09).verdict is Verdict.SAME


def test_a_residual_outside_its_band_is_named_and_only_strictness_makes_it_fail():
    """2 ms measured; predicted 2 launches of 1 us and 1 MB at the 0.8 GB/s seen between the calls."""
    found = verdict(runs_of(QUIET), residual_band=(1.0, 1.5))
    assert found.measured_over_predicted == pytest.approx(2e-3 / (2e-6 + 1e6 / 0.8e9))
    assert found.is_residual_outside
    assert (exit_code([found], is_strict=False), exit_code([found], is_strict=True)) == (0, 5)
    assert not verdict(runs_of(QUIET), residual_band=(1.5, 1.7)).is_residual_outside


@pytest.mark.parametrize(
    ("found", "relaxed", "strict"),
    [
        ([Verdict.SAME, Verdict.FAST, Verdict.NEW], 0, 0),
        ([Verdict.SAME, Verdict.SLOW, Verdict.INVALID], 1, 1),
        ([Verdict.MISSING, Verdict.SAME], 1, 1),
        ([Verdict.WRONG, Verdict.INVALID], 1, 1),
        ([Verdict.SAME, Verdict.INVALID], 3, 3),
        ([Verdict.INCOMPARABLE, Verdict.AMBIGUOUS], 3, 3),
        ([Verdict.AMBIGUOUS, Verdict.SAME], 0, 5),
        ([Verdict.NEW, Verdict.NEW], 3, 3),
        ([], 3, 3),
    ],
)
def test_exit_codes_follow_the_worst_verdict(found, relaxed, strict):
    verdicts = [CaseVerdict(case="case", verdict=one) for one in found]
    assert (exit_code(verdicts, is_strict=False), exit_code(verdicts, is_strict=True)) == (relaxed, strict)


def test_records_survive_a_file_and_foreign_rows_are_refused():
    run = runs_of(QUIET)[0]
    assert case_run(run.as_row()) == run
    with pytest.raises(ValueError, match="must have the fields of CaseRun"):
        case_run({"name": "a row of pytest-benchmark"})


def test_with_a_budget_cases_are_judged_by_looks_until_they_are_decided():
    """Five launches: the first four decide."""
    same = verdict(runs_of(QUIET), budget=0.05)
    assert (same.verdict, same.num_launches, same.reason, same.budget) == (Verdict.SAME, 4, "", 0.05)
    slow = verdict(runs_of(shifted(0.08) * 2), budget=0.05)
    assert (slow.verdict, slow.num_launches) == (Verdict.SLOW, 8)
    assert slow.ratio == pytest.approx(math.exp(0.08), rel=1e-3)
    within = verdict(runs_of(shifted(0.03)), budget=0.05)
    assert (within.verdict, within.reason) == (Verdict.SAME, "slower, within its budget")
    assert verdict(runs_of(shifted(0.03) * 2), budget=0.02).verdict is Verdict.SLOW


def test_an_open_case_says_what_it_knows_and_what_is_left():
    flagged = verdict(runs_of(shifted(0.08)), budget=0.05)
    assert flagged.verdict is Verdict.AMBIGUOUS
    assert flagged.reason == "SLOW at first, new launches do not tell yet; open when the launches ended"
    assert flagged.num_launches_needed == 8
    denied = verdict(runs_of([*shifted(0.08)[:4], *QUIET]), budget=0.05)
    assert (denied.verdict, denied.reason) == (Verdict.SAME, "SLOW at first, denied by new launches")


def test_a_budget_asks_on_where_fixed_launches_refuse():
    assert verdict(runs_of(QUIET), budget=0.05, known_detectable=0.9).verdict is Verdict.SAME
    found = verdict(runs_of(QUIET[:2]), budget=0.05)
    assert (found.verdict, found.reason) == (Verdict.INVALID, "2 of 2 launches count, 3 are needed")


def test_a_roof_and_disturbed_launches_come_before_looks():
    assert verdict(runs_of(QUIET, num_bytes=3 * 10**6), budget=0.05).verdict is Verdict.INVALID
    found = verdict(runs_of(QUIET), runs_of(shifted(0.5), disturbance="a neighbour"), budget=0.05)
    assert (found.verdict, found.num_launches) == (Verdict.SAME, 4)


def test_two_groups_of_launches_are_told():
    values = [0.0, 0.04, 0.001, 0.041, -0.001, 0.039] * 3
    blocks = [{"candidate": [value, value + 1e-4, value - 1e-4]} for value in values]
    runs = [replace(run, block_log_ratios=block) for run, block in zip(runs_of(values), blocks, strict=True)]
    found = verdict(runs, budget=0.02)
    assert "two groups of launches, around +0.0 % and +4.1 %" in found.reason


def test_a_case_that_fails_in_one_launch_of_several_is_invalid_and_not_missing():
    refused = CaseRun(case="case", look=1, launch=3, first_side="base", refusals={"candidate": "out of something"})
    found = verdict(runs_of(QUIET), [refused])
    assert found.verdict is Verdict.INVALID
    assert found.reason == "timed in other launches, but candidate: out of something"
    wrong = verdict(runs_of(QUIET), [replace(refused, wrong_sides=["candidate"])])
    assert wrong.verdict is Verdict.WRONG
