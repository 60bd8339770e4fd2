"""What a run is to measure: which selected cases share a cell, and until when each file may start another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from kinetics.cases.kernels import Cell
from kinetics.cases.steps import BenchCase, StepCell


@dataclass(slots=True, kw_only=True)
class PlannedCell:
    """The cases of one file that share a cell. `deadline_s` after the start of the run no new cell of it begins."""

    file: str
    cell: Cell | StepCell
    deadline_s: float
    cases: list[BenchCase] = field(default_factory=list)


class BenchPlan:
    """The cells of a run, by the cases in them. The time budget is shared out to files by their number of cases."""

    def __init__(self, time_budget_s: float) -> None:
        self._time_budget_s = time_budget_s
        self._cells: dict[tuple[str, Cell | StepCell], PlannedCell] = {}
        self._of_case: dict[BenchCase, PlannedCell] = {}

    def select(self, cases: Sequence[tuple[str, BenchCase]]) -> None:
        """Take note of the (file, case) pairs that pytest selected, in their order."""
        spent_s = 0.0
        deadlines_s = {}
        for file, num_cases in Counter(file for file, _ in cases).items():
            spent_s += self._time_budget_s * num_cases / len(cases)
            deadlines_s[file] = spent_s
        for file, case in cases:
            self._add(file, case, deadlines_s[file])

    def expect(self, case: BenchCase, *, test: str) -> None:
        """Take note of a case that a test makes itself: no selection names it, so it shares a cell with none."""
        if not self.knows(case):
            alone = PlannedCell(file=test, cell=case.cell, deadline_s=self._time_budget_s, cases=[case])
            self._of_case[case] = alone

    def knows(self, case: BenchCase) -> bool:
        """Whether the case was selected or is expected."""
        return case in self._of_case

    def cell_of(self, case: BenchCase) -> PlannedCell:
        """The cell in which a case is measured."""
        return self._of_case[case]

    @property
    def has_steps(self) -> bool:
        """Whether any case is a whole decode step."""
        return any(isinstance(planned.cell, StepCell) for planned in self._of_case.values())

    def _add(self, file: str, case: BenchCase, deadline_s: float) -> None:
        new = PlannedCell(file=file, cell=case.cell, deadline_s=deadline_s)
        planned = self._cells.setdefault((file, case.cell), new)
        planned.cases.append(case)
        self._of_case[case] = planned
