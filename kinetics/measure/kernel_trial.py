"""The cases of one cell on one set of buffers: prepared, proved, timed, and proved again on values that came later.

Whatever one provider does wrong is its own case's failure. A call is held to its work in six ways: what it writes is
spoilt before, and must be written when it returns; its inputs must stay what they are; queries are new in every timed
call; values that are asked twice must not come faster; what one timed call returned, nobody knows which, is proved; and
so is what was timed when keys, values and queries are others in the same memory, after a call on yet other queries.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from kinetics.cases.kernels import ATTENTION, Case, Cell, PageOperation
from kinetics.machine.conditions import Conditions
from kinetics.measure.cell_inputs import WatchedInputs, ask_anew, make_cell_inputs
from kinetics.measure.kernel_workload import Prepared, prepare
from kinetics.measure.memory import is_out_of_memory
from kinetics.measure.oracle import Oracle
from kinetics.measure.rounds import Candidate, Measurement, Pass
from kinetics.measure.selection_overlap import selection_overlap
from kinetics.measure.timing import InvalidMeasurementError, host_s
from kinetics_kernels.unavailable import Unavailable

_SECOND_SEEDS = 1_000_000
"""Seeds of the second proof's values, above those of all buffers."""
_APPENDING = (PageOperation.APPEND, PageOperation.SEARCH)
_UNAUDITED = (PageOperation.APPEND, PageOperation.SELECT)
"""Those whose work does not depend on the queries."""


@dataclass(slots=True, kw_only=True)
class Trial:
    """One case, prepared on every buffer, and what has been found out about it."""

    case: Case
    prepared: Sequence[Prepared]
    plan_s: float | None
    max_abs_error: float = 0.0
    selection_overlap: float | None = None
    last_results: Sequence[Any] = field(default_factory=tuple)
    audited: Sequence[Prepared] = field(default_factory=tuple)


class KernelTrials:
    """The cases of one cell. `failures`: those that failed, and why; they take no further part."""

    def __init__(
        self, cell: Cell, cases: Sequence[Case], *, device: str, num_buffers: int, conditions: Conditions
    ) -> None:
        self.failures: dict[Case, Exception | Unavailable] = {}
        self._conditions = conditions
        self._watched = [
            WatchedInputs(make_cell_inputs(cell, device=device, seed=seed), seed=seed) for seed in range(num_buffers)
        ]
        seed = zlib.crc32("".join(map(str, cases)).encode())
        self._questions = torch.Generator(device=device).manual_seed(seed)
        self._audit_questions = [
            torch.empty_like(watched.inputs.decode.q).normal_(generator=self._questions) for watched in self._watched
        ]
        prepared = [self._guarded(case, self._prepare, case) for case in cases]
        self._all = [trial for trial in prepared if trial is not None]
        self._prove({trial.case: _first_call(trial) for trial in self._all}, buffers=[0])

    @property
    def sound(self) -> list[Trial]:
        """The cases that have not failed."""
        return [trial for trial in self._all if trial.case not in self.failures]

    def candidates(self) -> dict[str, Candidate]:
        """The cases as they are timed, by their ids."""
        return {str(trial.case): self._candidate(trial) for trial in self.sound}

    def conclude(self, measured: Measurement) -> None:
        """Take note of what was seen while the cases were timed, and prove what was timed on values drawn anew."""
        for trial in self.sound:
            if fault := measured.faults.get(str(trial.case)):
                self._fail(trial.case, fault)
        self._find_who_overwrote()
        for trial in self.sound:
            if pages := trial.prepared[0].pages:
                trial.selection_overlap = self._guarded(trial.case, lambda pages: selection_overlap(pages()), pages)
        self._prove_audited()
        passes = {trial.case: measured.passes[str(trial.case)] for trial in self.sound}
        self._draw_anew(passes)
        self._prove(passes, buffers=range(len(self._watched)))

    def _prepare(self, case: Case) -> Trial:
        prepared = [prepare(case, watched.inputs) for watched in self._watched]
        plan = prepared[0].plan
        plan_s = None if plan is None else host_s(plan, device_kind=case.cell.device_kind)
        return Trial(case=case, prepared=prepared, plan_s=plan_s)

    def _candidate(self, trial: Trial) -> Candidate:
        def before(is_audit: bool) -> None:
            last_results = trial.last_results or [None] * len(trial.prepared)
            trial.last_results = ()
            for prepared, last in zip(trial.prepared, last_results, strict=False):
                prepared.spoil(last)
            for watched, question in zip(self._watched, self._audit_questions, strict=True):
                if is_audit:
                    watched.inputs.decode.q.copy_(question)
                else:
                    ask_anew(watched.inputs, self._questions)

        def after(results: Sequence[Any], is_audit: bool) -> None:
            self._conditions.enforce()
            for prepared, result in zip(trial.prepared, results, strict=False):
                prepared.look(result)
            trial.last_results = results
            if is_audit and trial.case.operation not in _UNAUDITED:
                trial.audited = [one.keep(result) for one, result in zip(trial.prepared, results, strict=True)]
            if is_audit:  # or the next case's warming call would see the question of its own audit
                for watched in self._watched:
                    ask_anew(watched.inputs, self._questions)

        calls = [prepared.call for prepared in trial.prepared]
        return Candidate(calls=calls, before=before, after=after, is_asked_twice=trial.case.operation in ATTENTION)

    def _find_who_overwrote(self) -> None:
        """Fail whoever overwrote inputs while all were timed; all of them if no one does it again."""
        is_appended = any(trial.case.operation in _APPENDING for trial in self.sound)
        if all(watched.is_intact(is_appended=is_appended) for watched in self._watched):
            return
        for watched in self._watched:
            watched.restore()
        num_sound = len(self.sound)
        for trial in self.sound:
            self._guarded(trial.case, self._untouching, trial, 0, trial.prepared[0].call)
        if len(self.sound) == num_sound:
            unknown = "calls must leave their inputs as they are, got some overwritten by one of this cell's cases"
            self.failures |= {trial.case: InvalidMeasurementError(unknown) for trial in self.sound}

    def _prove_audited(self) -> None:
        """What a round returned that nobody could tell from the others, on one buffer."""
        index = secrets.randbelow(len(self._watched))
        self._watched[index].inputs.decode.q.copy_(self._audit_questions[index])
        oracle = Oracle(self._watched[index].inputs)
        for trial in self.sound:
            if trial.audited:
                kept = trial.audited[index]
                self._guarded(trial.case, self._prove_one, trial, kept, kept.call, oracle, index)

    def _draw_anew(self, passes: Mapping[Case, Pass]) -> None:
        """New values in all memory, and a call of everybody on other queries than those of the proof."""
        questions = []
        for index, watched in enumerate(self._watched):
            refreshes = [refresh for trial in self.sound if (refresh := trial.prepared[index].refresh)]
            watched.draw(seed=_SECOND_SEEDS + index, refreshes=refreshes)
            questions.append(watched.inputs.decode.q.clone())
            ask_anew(watched.inputs, self._questions)
        for trial in self.sound:
            self._guarded(trial.case, passes[trial.case])
        for watched, question in zip(self._watched, questions, strict=True):
            watched.inputs.decode.q.copy_(question)

    def _prove(self, passes: Mapping[Case, Pass], *, buffers: Iterable[int]) -> None:
        """Prove what each case's pass returns for these buffers."""
        for index in buffers:
            oracle = Oracle(self._watched[index].inputs)
            for trial in self.sound:
                if run := passes.get(trial.case):
                    call = partial(_one_of, run, index)
                    self._guarded(trial.case, self._prove_one, trial, trial.prepared[index], call, oracle, index)

    def _prove_one(self, trial: Trial, prepared: Prepared, call: Callable[[], Any], oracle: Oracle, index: int) -> None:
        error = self._untouching(trial, index, lambda: prepared.prove(call, oracle))
        trial.max_abs_error = max(trial.max_abs_error, error)

    def _untouching(self, trial: Trial, index: int, act: Callable[[], Any]) -> Any:
        """What `act` returns. Raises: InvalidMeasurementError if it overwrote inputs, which are then restored."""
        watched = self._watched[index]
        question = watched.inputs.decode.q.clone()
        result = act()
        is_same_question = torch.equal(watched.inputs.decode.q, question)
        if is_same_question and watched.is_intact(is_appended=trial.case.operation in _APPENDING):
            return result
        watched.restore()
        watched.inputs.decode.q.copy_(question)
        raise InvalidMeasurementError("a call must leave its inputs as they are, got some overwritten")

    def _guarded(self, case: Case, act: Callable[..., Any], *arguments: Any) -> Any:
        """What `act` returns; what it raises is this case's failure."""
        try:
            try:
                return act(*arguments)
            finally:
                self._conditions.enforce()
        except Exception as failure:
            self._fail(case, failure)
            return None

    def _fail(self, case: Case, failure: Exception) -> None:
        """Memory that ran out is a reason to leave the case out, and the others go on without it."""
        if is_out_of_memory(failure):  # the exception itself would hold on to the memory
            self.failures[case] = Unavailable(f"{case.provider}: out of memory beside the others of its cell")
        else:
            self.failures[case] = failure


def _one_of(run: Pass, index: int) -> Any:
    return run()[index]


def _first_call(trial: Trial) -> Pass:
    return lambda: [trial.prepared[0].call()]
