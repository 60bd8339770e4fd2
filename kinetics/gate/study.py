"""What the gate's verdicts are worth: from stored launches with planted slow-downs, beside the rule others use. Pure.

A decision draws launches of one case, with replacement, until `kinetics.gate.sequential` decides. What is asked: how
often is identical code called SLOW; how often are 5 and 10 % more time found, added to the launches of identical code,
and 5 and 10 % more work, which was run; and after how many launches. Beside it stands pytest-benchmark's
`--benchmark-compare-fail=median:5%`: one run's median against the median of an earlier run.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from kinetics.gate.decision import MIN_MARGIN, Verdict
from kinetics.gate.error_rates import clopper_pearson
from kinetics.gate.evidence import BASE
from kinetics.gate.sequential import LOOKS, decide
from kinetics.gate.watch import MAX_OTHERS_CPU_SHARE

BUDGET = 0.05
"""A slow-down below this is none: the gate's on CPUs."""
COMPARE_FAIL_SHARE = 0.05
MAX_FALSE_ALARMS = 0.005
PROMISES = {0.10: (0.025, 0.95), 0.05: (0.015, 0.80)}
"""Per slow-down in time: up to which launch SD, and at least which share is called SLOW."""
NUM_DECISIONS = 2000
MIN_LAUNCHES = 20
"""Of every case; from fewer no rates are drawn."""
_NUM_RESAMPLED, _NUM_DECISIONS_RESAMPLED = 200, 100
_MOST = 2 * max(LOOKS)
"""Launches that any decision takes."""
_SEED = 40
_METHOD = f"""\
Every launch ran base, an identical copy, and 5 % and 10 % more context and KV budget, in whole pages, in lockstep: what
was planted in a case stands in its row. A decision draws launches of a case, with replacement, until the gate's
sequential rule decides, at a budget of {100 * BUDGET:g} % and a margin of {100 * MIN_MARGIN:g} %. "More time" is added
to the launches of the identical copy by arithmetic, so that it is the same in all cases; "more work" was run. Brackets
behind means: the middle 95 % over {_NUM_RESAMPLED} resamplings of whole launches, which all cases share. Brackets in
rows: 95 % Clopper-Pearson intervals that take every launch for a trial; a decision takes several, so they are too
narrow. `compare-fail` is `--benchmark-compare-fail=median:5%` on the medians of the same launches, each against the
base of the launch before. No resampling holds what these launches have no trace of: where identical code was never
called SLOW, only the rows' brackets bound how often it is.
"""


def _hodges_lehmann(values: np.ndarray) -> float:
    pairs = np.add.outer(values, values)[np.triu_indices(len(values))]
    return float(np.median(pairs)) / 2.0


EFFECTS: Mapping[str, Callable[[np.ndarray], float]] = {
    "median": lambda rounds: float(np.median(rounds)),
    "mean": lambda rounds: float(np.mean(rounds)),
    "mean without the outer fifths": lambda rounds: float(stats.trim_mean(rounds, 0.2)),
    "Hodges and Lehmann's": _hodges_lehmann,
}
"""What could be a launch's number, of the log-ratios of its rounds; the gate takes the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the rule says of one case: shares of verdicts, and launches until then. `launch_sd`: of its log-ratio."""

    case: str
    num_launches: int
    launch_sd: float
    ratio: float
    shares: Mapping[Verdict, float]
    mean_launches: float
    most_launches: float

    @property
    def slow(self) -> float:
        """Share called SLOW."""
        return self.shares[Verdict.SLOW]


def rates_of(
    case: str, values: Sequence[float], rng: np.random.Generator, *, num_decisions: int = NUM_DECISIONS
) -> Rates:
    """Decisions drawn from the log-ratios of a case's launches. `most_launches`: nine in ten take no more."""
    decisions = [decide(rng.choice(values, _MOST).tolist(), budget=BUDGET) for _ in range(num_decisions)]
    counts = Counter(one.verdict for one in decisions)
    looked_at = [one.num_looked_at for one in decisions]
    return Rates(
        case=case,
        num_launches=len(values),
        launch_sd=statistics.stdev(values),
        ratio=math.exp(statistics.fmean(values)),
        shares={verdict: counts[verdict] / num_decisions for verdict in Verdict},
        mean_launches=statistics.fmean(looked_at),
        most_launches=float(np.quantile(looked_at, 0.9)),
    )


class Study:
    """The launches that count, and what is asked of them."""

    def __init__(self, launches: pd.DataFrame) -> None:
        self.counting = launches[launches["others_cpu_share"] <= MAX_OTHERS_CPU_SHARE]
        self.cases = list(dict.fromkeys(self.counting["case"]))
        counts = self.counting.groupby("case")["launch"].nunique()
        if not len(counts) or counts.min() < MIN_LAUNCHES:
            raise ValueError(f"a study needs {MIN_LAUNCHES} launches of every case that count, got {counts.to_dict()}")

    def log_ratios(self, case: str, side: str, *, more_time: float = 0.0) -> list[float]:
        """Of every launch of a case; `more_time` is added (0.05 is 5 %)."""
        rows = self.counting[(self.counting["case"] == case) & (self.counting["side"] == side)]
        return (rows["log_ratio"] + math.log1p(more_time)).tolist()

    def rates(self, side: str, *, more_time: float = 0.0) -> list[Rates]:
        """One of every case."""
        rng = np.random.default_rng(_SEED)
        return [rates_of(case, self.log_ratios(case, side, more_time=more_time), rng) for case in self.cases]

    def slow_interval(self, side: str, *, more_time: float = 0.0) -> tuple[float, float]:
        """Of the share called SLOW, mean of all cases: its middle 95 % over resamplings of whole launches."""
        table = self.counting[self.counting["side"] == side].pivot_table(
            index="launch", columns="case", values="log_ratio"
        )[self.cases]
        values, rng = table.to_numpy() + math.log1p(more_time), np.random.default_rng(_SEED)
        means = []
        for _ in range(_NUM_RESAMPLED):
            drawn = values[rng.integers(len(values), size=len(values))]
            columns = [column[np.isfinite(column)] for column in drawn.T]
            shares = [
                rates_of("", column.tolist(), rng, num_decisions=_NUM_DECISIONS_RESAMPLED).slow
                for column in columns
                if len(column) >= MIN_LAUNCHES // 2
            ]
            means.append(statistics.fmean(shares))
        low, high = np.quantile(means, [0.025, 0.975])
        return float(low), float(high)

    def compare_fail(self, case: str, side: str) -> float:
        """Share of launches whose median lies 5 % above the base's median in the launch before."""
        of_case = self.counting[self.counting["case"] == case]
        medians = of_case.pivot_table(index="launch", columns="side", values="median_s").sort_index()
        before = medians[BASE].reindex(medians.index - 1).to_numpy()
        is_pair = np.isfinite(before)
        return float(np.mean(medians[side].to_numpy()[is_pair] > (1.0 + COMPARE_FAIL_SHARE) * before[is_pair]))

    def spread_by_effect(self, case: str) -> dict[str, float]:
        """SD over launches of identical code, for each number that a launch could be given; none in older files."""
        if "round_log_ratios" not in self.counting:
            return {}
        rows = self.counting[(self.counting["case"] == case) & (self.counting["side"] == "copy")]
        rows = rows[rows["round_log_ratios"].notna()]
        if len(rows) < MIN_LAUNCHES:
            return {}
        rounds = [np.array([float(one) for one in cell.split()]) for cell in rows["round_log_ratios"]]
        return {name: statistics.stdev(effect(one) for one in rounds) for name, effect in EFFECTS.items()}


def report(launches: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """The whole study as Markdown."""
    study = Study(launches)
    info, specs = facts["machine_info"], facts["specs"]
    commits = " and ".join(dict.fromkeys(launches["commit"]))
    dirty = " with changes" if facts["dirty"] else ""
    unchanged = study.rates("copy")
    false_alarms = study.slow_interval("copy")
    more_time = {share: study.rates("copy", more_time=share) for share in (MIN_MARGIN, *sorted(PROMISES))}
    lines = [
        "# What the gate's verdicts are worth",
        "",
        f"{info['device']} with {info['num_cpus']} CPUs, commit {commits}{dirty}; {launches['launch'].nunique()} "
        f"launches of {len(study.cases)} cases{_minutes(launches)}; {len(launches) - len(study.counting)} of "
        f"{len(launches)} records left out because other programs took more than "
        f"{100 * MAX_OTHERS_CPU_SHARE:.0f} % of the CPUs. Written by "
        "`python scripts/gate_study.py analyse` from `data/launches.csv`, which `collect` measured.",
        "",
        *_METHOD.split("\n"),
        "## Identical code",
        "",
        *_table(unchanged, {"compare-fail": [study.compare_fail(case, "copy") for case in study.cases]}),
        "",
        _mean_line(unchanged, false_alarms),
    ]
    for share, rates in more_time.items():
        lines += ["", f"## {100 * share:g} % more time", "", *_table(rates, {}), "",
                  _mean_line(rates, study.slow_interval("copy", more_time=share))]  # fmt: skip
    for side, name in (("plus5", "5 % more work"), ("plus10", "10 % more work")):
        rates = study.rates(side)
        planted = [_planted(specs[BASE][case], specs[side][case]) for case in study.cases]
        columns: dict[str, Sequence[float | str]] = {
            "planted": planted,
            "compare-fail": [study.compare_fail(case, side) for case in study.cases],
        }
        lines += ["", f"## {name}", "", *_table(rates, columns), "", _mean_line(rates, study.slow_interval(side))]
    lines += _effects(study)
    return "\n".join([*lines, "", "## Promises", "", *_promises(unchanged, false_alarms, more_time)]) + "\n"


def _table(rates: Sequence[Rates], more: Mapping[str, Sequence[float | str]]) -> list[str]:
    columns = ("case", "launch SD", "time", "SLOW", "SAME", "FAST", "open", "launches, mean", "90 % within", *more)
    rows = []
    for index, one in enumerate(rates):
        shares = (one.shares[verdict] for verdict in (Verdict.SAME, Verdict.FAST, Verdict.AMBIGUOUS))
        added = (of[index] for of in more.values())
        rows.append(
            (
                one.case,
                f"{100 * one.launch_sd:.2f} %",
                f"{100 * (one.ratio - 1):+.1f} %",
                str(clopper_pearson(one.slow, one.num_launches)),
                *(f"{100 * share:.1f} %" for share in shares),
                f"{one.mean_launches:.1f}",
                f"{one.most_launches:.0f}",
                *(f"{100 * cell:.0f} %" if isinstance(cell, float) else cell for cell in added),
            )
        )
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]


def _planted(base: Mapping[str, Any], side: Mapping[str, Any]) -> str:
    """How much longer context and KV budget are."""
    shares = [
        f"{name} {100 * (side[key] / base[key] - 1):+.1f} %"
        for name, key in (("context", "context_len"), ("kept", "kv_budget"))
        if base[key]
    ]
    return ", ".join(shares)


def _minutes(launches: pd.DataFrame) -> str:
    """How long they took; nothing in files that do not tell."""
    if "started_s" not in launches:
        return ""
    return f" within {(launches['started_s'].max() - launches['started_s'].min()) / 60:.0f} minutes"


def _mean_line(rates: Sequence[Rates], interval: tuple[float, float]) -> str:
    same = statistics.fmean(one.shares[Verdict.SAME] for one in rates)
    launches = statistics.fmean(one.mean_launches for one in rates)
    return f"Mean of all cases: SLOW {_share(rates, interval)}, SAME {100 * same:.1f} %, after {launches:.1f} launches."


def _share(rates: Sequence[Rates], interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * statistics.fmean(one.slow for one in rates):.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def _effects(study: Study) -> list[str]:
    """Which number of a launch spreads least."""
    spreads = {case: study.spread_by_effect(case) for case in study.cases}
    if not all(spreads.values()):
        return []
    lines = ["", "## What number a launch is given", "",
             "SD over launches of identical code, were the log-ratio of a launch made otherwise of its rounds:", "",
             "| case | " + " | ".join(EFFECTS) + " |", "| --- " * (1 + len(EFFECTS)) + "|"]  # fmt: skip
    lines += [
        "| " + " | ".join([case, *(f"{100 * found[name]:.2f} %" for name in EFFECTS)]) + " |"
        for case, found in spreads.items()
    ]
    first = next(iter(EFFECTS))
    means = [
        f"{name} {statistics.geometric_mean(found[name] / found[first] for found in spreads.values()):.2f}"
        for name in EFFECTS
    ]
    return [*lines, "", f"Over the {first}'s, geometric mean of all cases: {', '.join(means[1:])}."]


def _promises(
    unchanged: Sequence[Rates], false_alarms: tuple[float, float], more_time: Mapping[float, Sequence[Rates]]
) -> list[str]:
    is_kept = max(statistics.fmean(one.slow for one in unchanged), false_alarms[1]) <= MAX_FALSE_ALARMS
    lines = [
        f"- Identical code called SLOW in at most {100 * MAX_FALSE_ALARMS:.1f} %: {_word(is_kept)}, "
        f"{_share(unchanged, false_alarms)}; one case's launches, taken for trials, exclude no more than "
        f"{100 * max(clopper_pearson(one.slow, one.num_launches).high for one in unchanged):.1f} %."
    ]
    for share, (max_sd, power) in PROMISES.items():
        for one in more_time[share]:
            promise = (
                f"at least {100 * power:.0f} % promised: {_word(one.slow >= power)}"
                if one.launch_sd <= max_sd
                else f"nothing promised above an SD of {100 * max_sd:.1f} %"
            )
            lines.append(
                f"- {one.case}, {100 * share:g} % more time, launch SD {100 * one.launch_sd:.2f} %: SLOW in "
                f"{100 * one.slow:.1f} %, {promise}."
            )
    return lines


def _word(is_reached: bool) -> str:
    return "reached" if is_reached else "missed"
