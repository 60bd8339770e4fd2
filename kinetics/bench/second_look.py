"""Cells that others disturbed, measured once more at the end of a run, if any of its time is left.

A second measurement takes the place of the first if nothing disturbed it; else the first stands, and says what it was.
Nothing is measured again on a machine that is as busy as before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_benchmark.stats import Metadata, Stats

from kinetics.bench.plan import PlannedCell
from kinetics.bench.run import BenchRun
from kinetics.cases.steps import BenchCase
from kinetics.machine.company import CompanyWatch
from kinetics.results.disturbance import disturbance
from kinetics.results.kernel_row import Recordable
from kinetics.results.store import Skip
from kinetics_kernels.unavailable import Unavailable

_LOOK_S: Final = 0.5


def measure_disturbed_again(run: BenchRun, benchmarks: Sequence[Metadata]) -> set[str]:
    """Replace what was disturbed and is not any more, in place.

    Returns the full names of benchmarks that computed something wrong the second time: their rows are none.
    """
    of_name = {bench.fullname: bench for bench in benchmarks}
    recorded = {case: of_name[name] for name, case in run.recorded.items() if name in of_name and run.plan.knows(case)}
    cells: list[PlannedCell] = []
    for case, bench in recorded.items():
        planned = run.plan.cell_of(case)
        if bench.extra_info.get("disturbed") and not any(planned is one for one in cells):
            cells.append(planned)
    wrong: set[str] = set()
    for planned in cells:
        if run.outcomes.left_s() <= 0.0 or not is_quiet():
            break
        run.progress.say("measuring again what others disturbed:")
        wrong |= _replace(run, recorded, run.outcomes.measure(planned, run.progress))
    return wrong


def is_quiet() -> bool:
    """Whether other programs and guests leave the CPUs alone now; takes half a second."""
    watch = CompanyWatch()
    time.sleep(_LOOK_S)
    return disturbance(watch.seen().row_fields()) is None


def _replace(run: BenchRun, recorded: Mapping[BenchCase, Metadata], outcomes: Mapping[BenchCase, Any]) -> set[str]:
    wrong = set()
    for case, outcome in outcomes.items():
        bench = recorded.get(case)
        if bench is None or isinstance(outcome, Unavailable):
            continue
        if isinstance(outcome, Exception):
            run.skips.append(Skip(name=bench.fullname, reason=f"failed in the second measurement: {outcome}"))
            wrong.add(bench.fullname)
            continue
        _take(bench, outcome, run.row(outcome))
    return wrong


def _take(bench: Metadata, measured: Recordable, row: dict[str, Any]) -> None:
    if row["disturbed"]:
        return
    bench.extra_info.update(row)
    stats = Stats()  # type: ignore[no-untyped-call]
    for sample in measured.samples_s:
        stats.update(sample)  # type: ignore[no-untyped-call]
    bench.stats = stats
