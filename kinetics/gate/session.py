"""A run of the gate from the first worker to the written file: launches, journal, second looks, partial evidence.

Ctrl-C, a termination signal, a lost worker or a lost device end the launches, not the run: what was measured is judged
and written, marked as partial, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinetics.gate.evidence import BASE, CANDIDATE, CaseRun
from kinetics.gate.gate_file import Mode, baselines_of, complete
from kinetics.gate.launch import LaunchCase, LaunchSetup, Worker, run_launch
from kinetics.gate.process import WORKER, CaseRefused, WorkerLost, WorkerProcess
from kinetics.gate.stored import is_stored_flagged
from kinetics.gate.verdicts import CasePlan, is_flagged
from kinetics.gate.watch import Watch, gpu_complaint, nvidia_smi, own_cpu_s
from kinetics.results.journal import RowJournal
from kinetics.results.store import Document

INTERRUPTED = "interrupted"
Say = Callable[[str], None]
Judge = Callable[[Document], None]
"""Puts the verdicts into a document that holds the evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The device as a first worker found it: facts for the file, and the measured ceilings."""

    facts: dict[str, Any]
    ceilings: dict[str, Any]

    @property
    def kind(self) -> str:
        """ "cpu" or "cuda"."""
        return str(self.facts["device_kind"])


def probe_machine(root: Path, device: str, *, base_root: Path | None = None) -> Machine:
    """Look at the device through workers of their own, so that no context of this process stays on it.

    Ceilings are measured by the base where there is one: a candidate's would let its own times pass.
    Raises: ValueError if the checkout or the device cannot be used; WorkerLost, also for a base that is too old.
    """
    with WorkerProcess(CANDIDATE, root, device) as worker:
        try:
            facts = worker.facts()
            dtype = "float32" if facts["device_kind"] == "cpu" else "bfloat16"
            ceilings = worker.probe(dtype) if base_root is None else {}
        except CaseRefused as refusal:
            raise ValueError(f"the checkout at {root} cannot measure on {device}: {refusal}") from None
    if base_root is not None:
        with WorkerProcess(BASE, base_root, device) as worker:
            try:
                ceilings = worker.probe(dtype)
            except CaseRefused as refusal:
                raise WorkerLost(
                    f"the base revision {base_root.name[:7]} is too old for this gate: {refusal}"
                ) from None
    return Machine(facts=facts, ceilings=ceilings)


def launch_setup(roots: Mapping[str, Path], device: str, machine: Machine, *, script: Path = WORKER) -> LaunchSetup:
    """Launches by worker processes on this machine, all of which run `script`."""

    def open_worker(side: str, root: Path) -> AbstractContextManager[WorkerProcess]:
        return WorkerProcess(side, root, device, script=script)

    def watch(workers: Sequence[Worker]) -> Watch:
        processes = [worker for worker in workers if isinstance(worker, WorkerProcess)]
        query = nvidia_smi(machine.facts["gpu_uuid"]) if machine.kind == "cuda" else None
        return Watch(
            lambda: own_cpu_s() + sum(process.cpu_s() for process in processes),
            gpu=(lambda: gpu_complaint([process.pid for process in processes], query=query)) if query else None,
        )

    return LaunchSetup(roots=roots, open_worker=open_worker, watch=watch)


class Session:
    """The evidence of one run, on disk record by record."""

    def __init__(
        self, place: LaunchSetup, document: Document, *, journal_at: Path, say: Say, judge: Judge = complete
    ) -> None:
        self.document = document
        self._judge = judge
        self._place = place
        self.say = say
        self._started = time.monotonic()
        self._runs: list[CaseRun] = []
        self._num_launches = 0
        self._faulty: set[str] = set()
        journal_at.parent.mkdir(parents=True, exist_ok=True)
        self._journal = RowJournal(journal_at)
        self._journal.start(document)

    def take(self, cases: Sequence[LaunchCase], *, num_launches: int, look: int) -> None:
        """Run launches of these cases; as many again, at most, for those that others disturbed.

        A case that a side refused is not tried again.
        Raises: WorkerLost, KeyboardInterrupt.
        """
        for index in range(2 * num_launches):
            wanted = [case for case in cases if self._is_wanted(case.name, num_launches, look)]
            if not wanted:
                return
            retaken = " (others disturbed earlier ones)" if index >= num_launches else ""
            self.say(f"look {look}: launch {index + 1} of {num_launches}{retaken}, {len(wanted)} cases")
            self.launch(wanted, look=look)

    def launch(self, cases: Sequence[LaunchCase], *, look: int) -> None:
        """Run one launch of these cases. A case at which the candidate's own fault ends it twice is wrong.

        The first time the cases that are left wait for the next launch.
        Raises: WorkerLost, KeyboardInterrupt.
        """
        number, num_done = self._num_launches, 0
        self._num_launches += 1
        try:
            for run in run_launch(self._place, cases, launch=number, look=look):
                self._keep(run)
                num_done += 1
        except WorkerLost as loss:
            if loss.faulty_side != CANDIDATE or num_done == len(cases) or self.document["mode"] == Mode.STORED.value:
                raise
            case = cases[num_done].name
            self.say(f"{case}: {loss}")
            if case in self._faulty:
                self._keep(_wrong_run(case, str(loss), launch=number, look=look))
            self._faulty.add(case)

    def _keep(self, run: CaseRun) -> None:
        self._runs.append(run)
        self._journal.append(run.as_row())

    def _is_wanted(self, name: str, num_launches: int, look: int) -> bool:
        runs = self.of_case(name)
        num_counting = sum(run.counts and run.look == look for run in runs)
        return num_counting < num_launches and not any(run.refusals for run in runs)

    def of_case(self, name: str) -> list[CaseRun]:
        """The evidence on one case so far."""
        return [run for run in self._runs if run.case == name]

    def finish(self, path: Path, *, lost: str | None) -> Document:
        """Judge, write the file, forget the journal. `lost`: what ended the run early."""
        self.document["runs"] = [run.as_row() for run in self._runs]
        self.document["wall_s"] = time.monotonic() - self._started
        self.document["lost"] = lost
        if lost is not None:
            self.document["is_partial"] = True
        self._judge(self.document)
        self._journal.finish(path, self.document)
        return self.document

    @property
    def result(self) -> Path:
        """The file that belongs to this run alone."""
        return self._journal.result


def _wrong_run(case: str, reason: str, *, launch: int, look: int) -> CaseRun:
    return CaseRun(
        case=case,
        look=look,
        launch=launch,
        first_side=BASE,
        refusals={CANDIDATE: f"{reason}, in two launches"},
        wrong_sides=[CANDIDATE],
    )


def take_two_looks(session: Session, cases: Sequence[LaunchCase], plans: Sequence[CasePlan], num_launches: int) -> None:
    """The first look at all cases, the second at those that the first one flagged."""
    session.take(cases, num_launches=num_launches, look=1)
    baselines = baselines_of(session.document) if "baselines" in session.document else None
    flagged = {
        plan.name
        for plan in plans
        if (
            is_stored_flagged(session.of_case(plan.name), baselines[plan.name])
            if baselines is not None
            else is_flagged(plan, session.of_case(plan.name))
        )
    }
    if flagged:
        session.take([case for case in cases if case.name in flagged], num_launches=num_launches, look=2)


def until_lost(measure: Callable[[], None]) -> str | None:
    """Run `measure`; what ended it early, None if nothing did."""
    try:
        measure()
    except WorkerLost as error:
        return str(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return None
