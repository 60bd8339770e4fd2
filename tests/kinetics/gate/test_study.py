"""The study's report, from synthetic launches whose answer is known."""

import math
import random

import pandas as pd
import pytest

from kinetics.gate import study
from kinetics.gate.decision import Verdict
from kinetics.gate.study import Study, rates_of, report

SPECS = {
    side: {"case": {"context_len": 1000 + longer, "kv_budget": None}}
    for side, longer in (("base", 0), ("copy", 0), ("plus5", 48), ("plus10", 96))
}
FACTS = {"dirty": False, "machine_info": {"device": "a device", "num_cpus": 2}, "specs": SPECS}
SHIFTS = {"base": 0.0, "copy": 0.0, "plus5": 0.05, "plus10": 0.10}


def launches(*, sd=0.01, weather=0.2, share=0.0, count=40, shifts=SHIFTS):
    """Launches in which ratios spread by `sd` and absolute times by `weather`."""
    rng, rows = random.Random(1), []
    for launch in range(count):
        base_s = 1e-3 * math.exp(rng.gauss(0, weather))
        for side, shift in shifts.items():
            theta = 0.0 if side == "base" else math.log1p(shift) + rng.gauss(0, sd)
            rows.append(
                {
                    "launch": launch,
                    "case": "case",
                    "side": side,
                    "log_ratio": theta,
                    "median_s": base_s * math.exp(theta),
                    "others_cpu_share": share,
                    "commit": "0123456",
                    "started_s": 60.0 * launch,
                    "round_log_ratios": " ".join(f"{theta + rng.choice((-0.01, 0.0, 0.01)):.4f}" for _ in range(24)),
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(autouse=True)
def few_decisions(monkeypatch):
    """Enough to tell a promise kept from one broken by far."""
    monkeypatch.setattr(study, "_NUM_RESAMPLED", 10)
    monkeypatch.setattr(study, "_NUM_DECISIONS_RESAMPLED", 20)


def test_quiet_launches_keep_every_promise_where_the_common_rule_alarms_falsely():
    text = report(launches(), FACTS)
    assert text.count(": reached") == 3
    assert "missed" not in text
    assert "0 of 160 records left out" in text
    assert "| context +4.8 % |" in text
    assert "commit 0123456; 40 launches of 1 cases within 39 minutes;" in text
    found = Study(launches())
    assert found.rates("copy")[0].slow == 0.0
    assert found.compare_fail("case", "copy") > 0.2
    assert Study(launches(weather=0.0)).compare_fail("case", "copy") < 0.01


def test_time_is_added_to_identical_code_and_work_is_what_was_run():
    restless = Study(launches(sd=0.02, shifts=SHIFTS | {"plus10": 0.0}))
    more_time = restless.rates("copy", more_time=0.10)[0]
    assert more_time.slow > 0.95
    assert more_time.ratio == pytest.approx(1.10 * restless.rates("copy")[0].ratio)
    assert restless.rates("plus10")[0].slow < 0.05


def test_false_alarms_above_half_a_percent_are_a_promise_missed():
    text = report(launches(shifts=SHIFTS | {"copy": 0.08}), FACTS)
    assert "Identical code called SLOW in at most 0.5 %: missed, 100.00 % (100.00 to 100.00)" in text


def test_a_restless_case_is_promised_nothing():
    text = report(launches(sd=0.05), FACTS)
    assert "nothing promised above an SD of 2.5 %" in text
    assert "nothing promised above an SD of 1.5 %" in text


def test_disturbed_records_are_left_out():
    mixed = pd.concat([launches(), launches(share=0.5, sd=0.5).assign(launch=lambda frame: frame["launch"] + 40)])
    assert "160 of 320 records left out" in report(mixed, FACTS)


def test_more_spread_takes_more_launches_and_shares_add_up():
    quiet, restless = (
        rates_of("case", Study(launches(sd=sd)).log_ratios("case", "copy"), study.np.random.default_rng(1))
        for sd in (0.005, 0.03)
    )
    assert restless.most_launches > restless.mean_launches
    assert quiet.mean_launches < restless.mean_launches < restless.most_launches + 4
    for one in (quiet, restless):
        assert sum(one.shares.values()) == pytest.approx(1.0)
        assert one.shares[Verdict.SAME] > 0.9


def test_the_interval_of_a_share_holds_it_and_is_of_whole_launches():
    between = Study(launches(sd=0.02, shifts=SHIFTS | {"copy": 0.035}))
    low, high = between.slow_interval("copy")
    assert low < between.rates("copy")[0].slow < high
    assert high - low > 0.05


def test_what_a_launch_could_be_given_is_compared_where_its_rounds_are_known():
    spread = Study(launches()).spread_by_effect("case")
    assert list(spread) == ["median", "mean", "mean without the outer fifths", "Hodges and Lehmann's"]
    assert all(0.005 < sd < 0.02 for sd in spread.values())
    assert "Over the median's, geometric mean of all cases: mean " in report(launches(), FACTS)
    old = launches().drop(columns=["round_log_ratios", "started_s"])
    assert "What number a launch is given" not in report(old, FACTS)


def test_each_number_of_a_launch_is_what_its_name_says():
    rounds = study.np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    found = {name: effect(rounds) for name, effect in study.EFFECTS.items()}
    assert found["median"] == 2.0
    assert found["mean"] == 21.2
    assert found["mean without the outer fifths"] == 2.0
    assert found["Hodges and Lehmann's"] == 2.0


def test_cases_that_share_their_launches_tell_no_more_than_one(monkeypatch):
    monkeypatch.setattr(study, "_NUM_RESAMPLED", 60)
    shifts = SHIFTS | {"copy": 0.035}
    one = launches(sd=0.02, shifts=shifts)
    low, high = Study(one).slow_interval("copy")
    low_of_four, high_of_four = Study(pd.concat([one.assign(case=name) for name in "abcd"])).slow_interval("copy")
    assert high_of_four - low_of_four > 0.7 * (high - low)


def test_what_is_promised_is_what_the_documents_say():
    assert (study.BUDGET, study.MAX_FALSE_ALARMS) == (0.05, 0.005)
    assert study.PROMISES == {0.10: (0.025, 0.95), 0.05: (0.015, 0.80)}


def test_rows_of_an_older_study_may_lie_beside_new_ones_and_few_launches_are_refused():
    old = launches().drop(columns=["round_log_ratios", "started_s"])
    both = pd.concat([old, launches().assign(launch=lambda frame: frame["launch"] + 40)])
    assert "80 launches of 1 cases" in report(both, FACTS)
    with pytest.raises(ValueError, match="needs 20 launches of every case"):
        report(launches(count=8), FACTS)


def test_only_launches_that_follow_each_other_are_compared_by_the_common_rule():
    frame = launches(weather=0.0, sd=0.0, shifts=SHIFTS | {"copy": 0.2})
    assert Study(frame).compare_fail("case", "copy") == 1.0
    kept = frame[frame["launch"].isin([*range(19), 30, 39])].copy()
    kept.loc[kept["launch"].isin([30, 39]), "median_s"] = 1e-9
    assert Study(kept).compare_fail("case", "copy") == 1.0


def test_a_launch_that_counts_in_one_case_alone_is_drawn_for_that_case():
    frame = pd.concat([launches(), launches().assign(case="other")])
    busy = (frame["case"] == "other") & (frame["launch"] < 10)
    frame.loc[busy, "others_cpu_share"] = 0.9
    found = Study(frame)
    assert [one.num_launches for one in found.rates("copy")] == [40, 30]
    assert found.slow_interval("copy", more_time=0.2) == (1.0, 1.0)
