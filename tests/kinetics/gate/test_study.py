"""The study's report, from synthetic launches whose answer is known."""

import math
import random

import pandas as pd
import pytest

from kinetics.gate.study import report, side_rates

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
                }
            )
    return pd.DataFrame(rows)


def test_quiet_launches_keep_every_promise_where_the_common_rule_alarms_falsely():
    text = report(launches(), FACTS)
    assert text.count(": reached") == 3
    assert "missed" not in text
    assert "0 of 160 records left out" in text
    assert "| case | context +4.8 % |" in text
    assert "commit 0123456;" in text
    copy = side_rates(launches(), "case", "copy")
    assert copy.confirmed == 0.0
    assert copy.compare_fail > 0.2
    assert side_rates(launches(weather=0.0), "case", "copy").compare_fail < 0.01


def test_slow_downs_that_are_none_are_promises_missed():
    text = report(launches(shifts=SHIFTS | {"plus5": 0.0, "plus10": 0.0}), FACTS)
    assert text.count(": missed") == 2


def test_false_alarms_above_one_percent_are_a_promise_missed():
    assert "Confirmed false alarms of at most 1 %: missed" in report(launches(shifts=SHIFTS | {"copy": 0.05}), FACTS)


def test_a_restless_case_is_promised_nothing_and_says_what_it_sees():
    text = report(launches(sd=0.05), FACTS)
    assert "nothing promised above 2.5 %; sees +" in text


def test_disturbed_records_are_left_out():
    mixed = pd.concat([launches(), launches(share=0.5, sd=0.5).assign(launch=lambda frame: frame["launch"] + 40)])
    assert "160 of 320 records left out" in report(mixed, FACTS)


def test_the_measured_margin_takes_a_bias_for_what_it_is():
    biased = side_rates(launches(shifts=SHIFTS | {"copy": 0.04}), "case", "copy")
    assert biased.confirmed > 0.9
    assert biased.margin == pytest.approx(0.05, abs=0.01)
    assert biased.confirmed_at_measured_margin == 0.0
