"""What came of each case: measured, left out for a reason, or wrong. A cell is measured when its first case is asked.

How a cell is measured is the business of `kinetics.measure`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kinetics.bench.machine import BenchMachine
from kinetics.bench.options import BenchSettings
from kinetics.bench.plan import BenchPlan, PlannedCell
from kinetics.bench.progress import RunProgress
from kinetics.cases.kernels import Cell
from kinetics.cases.steps import BenchCase, StepCell
from kinetics.measure.timing import InvalidMeasurementError
from kinetics.results.kernel_row import Recordable
from kinetics_kernels.unavailable import Unavailable

if TYPE_CHECKING:
    from kinetics.engine.tensor_parallel import RankGroup

Outcome = Recordable | Unavailable | Exception


class Outcomes:
    """The outcomes of the cells measured so far, until each is taken."""

    def __init__(
        self, settings: BenchSettings, plan: BenchPlan, machine: BenchMachine, *, ranks: RankGroup | None = None
    ) -> None:
        self._ranks = ranks
        self._settings = settings
        self._plan = plan
        self._machine = machine
        self._started = time.monotonic()
        self._found: dict[BenchCase, Outcome] = {}

    def take(self, case: BenchCase, progress: RunProgress) -> Recordable | Unavailable:
        """The measurement of a case, or why there is none.

        Raises: AssertionError if the case computed a wrong result, or whatever its provider raised.
        """
        if case not in self._found:
            self._found.update(self._in_time(self._plan.cell_of(case), progress))
        outcome = self._found.pop(case)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def take_together(
        self, cases: Sequence[BenchCase], test: str, progress: RunProgress
    ) -> list[Recordable | Unavailable]:
        """The measurements of cases of one cell, all timed anew in the same rounds whatever was measured before.

        Raises: as `take`.
        """
        budget_s = self._settings.time_budget_s
        cell = PlannedCell(file=test, cell=cases[0].cell, deadline_s=budget_s, cases=list(cases))
        outcomes = self._in_time(cell, progress)
        taken: list[Recordable | Unavailable] = []
        for case in cases:
            outcome = outcomes[case]
            if isinstance(outcome, Exception):
                raise outcome
            taken.append(outcome)
        return taken

    def left_s(self) -> float:
        """Seconds of the time budget that are left to the run."""
        return self._settings.time_budget_s - self._passed_s()

    def measure(self, planned: PlannedCell, progress: RunProgress) -> Mapping[BenchCase, Outcome]:
        """Measure a cell now, whatever the time; what physics forbids is invalid."""
        if not self._machine.is_probed:
            progress.say("measuring this machine's ceilings")
            _ = self._machine.ceilings
        progress.describe(planned.cell, num_cases=len(planned.cases))
        outcomes = dict(self._run_cell(planned.cell, planned.cases))
        for case, outcome in outcomes.items():
            if not isinstance(outcome, Unavailable | Exception) and (why := self._machine.why_impossible(outcome)):
                outcomes[case] = InvalidMeasurementError(why)
        return outcomes

    def _in_time(self, planned: PlannedCell, progress: RunProgress) -> Mapping[BenchCase, Outcome]:
        if self._passed_s() > planned.deadline_s:
            budget = f"{self._settings.time_budget_s:.0f} s"
            spent = Unavailable(f"time budget: this file's share of {budget} was spent; raise --time-budget")
            return dict.fromkeys(planned.cases, spent)
        return self.measure(planned, progress)

    def _passed_s(self) -> float:
        """Seconds since the start, by the clock of the first rank."""
        passed_s = time.monotonic() - self._started
        return passed_s if self._ranks is None else self._ranks.share(passed_s)[0]

    def _run_cell(self, cell: Cell | StepCell, cases: Sequence[Any]) -> Mapping[Any, Outcome]:
        device, conditions = self._machine.device, self._machine.conditions
        if isinstance(cell, StepCell):
            from kinetics.measure.step_runner import StepRunner

            shared = {} if self._ranks is None else {"ranks": self._ranks}
            return StepRunner(device, conditions, links=self._machine.links, **shared).run(cell, cases)
        from kinetics.measure.kernel_runner import CellRunner

        return CellRunner(device, conditions, meters_energy=self._settings.meters_energy).run(cell, cases)
