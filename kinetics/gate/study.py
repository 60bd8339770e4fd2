"""Error rates of the gate from stored launches with planted slow-downs, beside the rule people use instead. Pure.

Decisions are drawn, with replacement, from the launches of one case; a decision takes five launches for its first look
and five more for its second. The rule beside it is pytest-benchmark's `--benchmark-compare-fail=median:5%`: one
run's median against the median of an earlier run.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kinetics.gate.decision import MIN_MARGIN
from kinetics.gate.error_rates import (
    Rate,
    clopper_pearson,
    confirmed_rate,
    cross_fitted,
    first_look_rate,
    measured_margin,
    smallest_detectable,
)
from kinetics.gate.evidence import BASE
from kinetics.gate.watch import MAX_OTHERS_CPU_SHARE

NUM_LAUNCHES_A_LOOK = 5
COMPARE_FAIL_SHARE = 0.05
MAX_FALSE_ALARMS = 0.01
PROMISES = {"plus10": (0.025, 0.8), "plus5": (0.015, 0.6)}
"""Per planted side: up to which launch SD, and at least which confirmed power."""
_SEED = 40
_METHOD = f"""\
Every launch ran base, an identical copy, and 5 % and 10 % more context and KV budget, in whole pages, in lockstep:
what was planted in a case stands in its row. A decision is drawn from these launches, with replacement:
{NUM_LAUNCHES_A_LOOK} for the first look, {NUM_LAUNCHES_A_LOOK} for the second. Brackets: 95 % Clopper-Pearson intervals
that take every launch for a trial; cases share launches, and a confirmed decision takes {2 * NUM_LAUNCHES_A_LOOK} of
them, so the truth may lie further off. `compare-fail` is `--benchmark-compare-fail=median:5%` on the medians of the
same launches, each against the base of the launch before. Measured margin: what `kinetics gate self-test` would have
set from the copies; the copies themselves are judged half by half, each at the margin of the other half.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideRates:
    """What the gate and the common rule say of one side of one case. `launch_sd`: of its own log-ratio."""

    case: str
    side: str
    num_launches: int
    launch_sd: float
    ratio: float
    first_look: float
    confirmed: float
    confirmed_at_measured_margin: float
    compare_fail: float
    detectable: float
    margin: float


def side_rates(launches: pd.DataFrame, case: str, side: str) -> SideRates:
    """Rates of SLOW decisions on one side of one case."""
    of_case = launches[launches["case"] == case]
    values = of_case[of_case["side"] == side]["log_ratio"].tolist()
    copies = of_case[of_case["side"] == "copy"]["log_ratio"].tolist()
    common = {"num_launches": NUM_LAUNCHES_A_LOOK, "seed": _SEED}
    margin = measured_margin(copies, **common)
    sd = statistics.stdev(values)
    at_margin = (
        cross_fitted(confirmed_rate, values, **common)
        if side == "copy"
        else confirmed_rate(values, margin=margin, **common)
    )
    return SideRates(
        case=case,
        side=side,
        num_launches=len(values),
        launch_sd=sd,
        ratio=float(np.exp(np.mean(values))),
        first_look=first_look_rate(values, margin=MIN_MARGIN, **common),
        confirmed=confirmed_rate(values, margin=MIN_MARGIN, **common),
        confirmed_at_measured_margin=at_margin,
        compare_fail=_compare_fail_rate(of_case, side),
        detectable=smallest_detectable(sd, num_launches=NUM_LAUNCHES_A_LOOK, margin=MIN_MARGIN),
        margin=margin,
    )


def report(launches: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """The whole study as Markdown."""
    counting = launches[launches["others_cpu_share"] <= MAX_OTHERS_CPU_SHARE]
    cases = list(dict.fromkeys(counting["case"]))
    rates = {side: [side_rates(counting, case, side) for case in cases] for side in ("copy", *PROMISES)}
    info, num_launches = facts["machine_info"], launches["launch"].nunique()
    commits = " and ".join(dict.fromkeys(launches["commit"]))
    dirty = " with changes" if facts["dirty"] else ""
    lines = [
        "# What the gate's verdicts are worth",
        "",
        f"{info['device']} with {info['num_cpus']} CPUs, commit {commits}{dirty}; {num_launches} launches "
        f"of {len(cases)} cases; {len(launches) - len(counting)} of {len(launches)} records left out because other "
        f"programs took more than {100 * MAX_OTHERS_CPU_SHARE:.0f} % of the CPUs. Written by "
        "`python scripts/gate_study.py analyse` from `data/launches.csv`, which `collect` measured.",
        "",
        *_METHOD.split("\n"),
        "## Identical code: false alarms",
        "",
        *_table(rates["copy"], facts["specs"]),
        "",
        _pooled_line(rates["copy"], "false alarms"),
    ]
    for side, name in (("plus5", "5 % more work"), ("plus10", "10 % more work")):
        lines += [
            "",
            f"## {name}: found",
            "",
            *_table(rates[side], facts["specs"]),
            "",
            _pooled_line(rates[side], "found"),
        ]
    return "\n".join([*lines, "", "## Promises", "", *_promises(rates)]) + "\n"


def _table(rates: Sequence[SideRates], specs: Mapping[str, Any]) -> list[str]:
    columns = ("case", "planted", "time", "launch SD", "first look", "confirmed", "confirmed at the measured margin",
               "smallest detectable", "compare-fail")  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
    for one in rates:
        cells = (
            one.case,
            _planted(specs[BASE][one.case], specs[one.side][one.case]),
            f"{100 * (one.ratio - 1):+.1f} %",
            f"{100 * one.launch_sd:.2f} %",
            f"{100 * one.first_look:.1f} %",
            str(clopper_pearson(one.confirmed, one.num_launches)),
            f"{100 * one.confirmed_at_measured_margin:.1f} % (margin {100 * one.margin:.1f} %)",
            f"+{100 * one.detectable:.1f} %",
            f"{100 * one.compare_fail:.0f} %",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _planted(base: Mapping[str, Any], side: Mapping[str, Any]) -> str:
    """How much longer context and KV budget are."""
    shares = [
        f"{name} {100 * (side[key] / base[key] - 1):+.1f} %"
        for name, key in (("context", "context_len"), ("kept", "kv_budget"))
        if base[key]
    ]
    return ", ".join(shares)


def _pooled_line(rates: Sequence[SideRates], what: str) -> str:
    return (
        f"Mean of all cases, {what}: confirmed {_pooled(rates, [one.confirmed for one in rates])}; at the first look "
        f"{_pooled(rates, [one.first_look for one in rates])}; at the measured margins, confirmed "
        f"{_pooled(rates, [one.confirmed_at_measured_margin for one in rates])}; compare-fail "
        f"{_pooled(rates, [one.compare_fail for one in rates])}."
    )


def _pooled(rates: Sequence[SideRates], values: Sequence[float]) -> Rate:
    return clopper_pearson(statistics.fmean(values), max(one.num_launches for one in rates))


def _promises(rates: Mapping[str, Sequence[SideRates]]) -> list[str]:
    false_alarms = _pooled(rates["copy"], [one.confirmed for one in rates["copy"]])
    lines = [
        f"- Confirmed false alarms of at most {100 * MAX_FALSE_ALARMS:.0f} %: "
        f"{_word(false_alarms.value <= MAX_FALSE_ALARMS)}, {false_alarms}."
    ]
    for side, (max_sd, power) in PROMISES.items():
        for one in rates[side]:
            shift = (
                f"- {one.case}, {side.removeprefix('plus')} % more work, time {100 * (one.ratio - 1):+.1f} %, "
                f"launch SD {100 * one.launch_sd:.2f} %: "
            )
            if one.launch_sd <= max_sd:
                lines.append(
                    f"{shift}power {one.confirmed:.2f}, at least {power} promised: {_word(one.confirmed >= power)}."
                )
            else:
                lines.append(f"{shift}nothing promised above {100 * max_sd:.1f} %; sees +{100 * one.detectable:.1f} %.")
    return lines


def _word(is_reached: bool) -> str:
    return "reached" if is_reached else "missed"


def _compare_fail_rate(of_case: pd.DataFrame, side: str) -> float:
    """Share of launches whose median lies 5 % above the base's median in the launch before."""
    medians = of_case.pivot_table(index="launch", columns="side", values="median_s").sort_index()
    earlier, later = medians[BASE].to_numpy()[:-1], medians[side].to_numpy()[1:]
    return float(np.mean(later > (1.0 + COMPARE_FAIL_SHARE) * earlier))
