"""One benchmark run: its plan, its clock, its journal, its result file.

Decides what is measured when and what is written; how a cell is measured is `kinetics.measure.kernel_runner`'s
business, and pytest is `kinetics.bench.plugin`'s. torch is imported when the first cell is measured, not before.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kinetics.bench.options import BenchSettings
from kinetics.bench.progress import CellProgress
from kinetics.cases.kernels import Cell
from kinetics.cases.steps import BenchCase, StepCell
from kinetics.files.atomic import to_strict, write_json
from kinetics.machine.facts import machine_facts, source_state
from kinetics.prediction.calibration import Row, calibrate
from kinetics.prediction.step_calibration import calibrate_steps
from kinetics.results.journal import RowJournal, recover_journals
from kinetics.results.kernel_row import Recordable
from kinetics.results.store import SCHEMA, Document, Skip, check_writable, result_path, tables_folder

if TYPE_CHECKING:
    from kinetics.machine.probe import ProbeResult


class BenchRun:
    """Everything that one `pytest bench/` keeps between its tests.

    Raises: ValueError if the result folder cannot be written.
    """

    def __init__(self, settings: BenchSettings) -> None:
        self.settings = settings
        self.folder = settings.results_dir / settings.device.slug
        check_writable(self.folder)
        self.recovered = recover_journals(self.folder, complete=complete_document)
        self.commit, self.is_dirty = source_state(settings.root)
        self.result: Path | None = None
        self.document: Document = {}
        self._started = time.time()
        self._clock = time.monotonic()
        self._cells: dict[BenchCase, tuple[str, Cell | StepCell]] = {}
        self._cases: dict[tuple[str, Cell | StepCell], list[BenchCase]] = {}
        self._deadline_s: dict[str, float] = {}
        self._outcomes: dict[BenchCase, Recordable | str | Exception] = {}
        self._skips: list[Skip] = []
        self._probed: ProbeResult | None = None
        self._facts: dict[str, Any] | None = None
        self._journal: RowJournal | None = None
        self._progress: CellProgress | None = None

    def plan(self, cases: Sequence[tuple[str, BenchCase]], *, progress: CellProgress) -> None:
        """Take note of the selected (file, case) pairs: which share a cell, and until when each file may go on."""
        for file, case in cases:
            self._cells[case] = (file, case.cell)
            self._cases.setdefault((file, case.cell), []).append(case)
        spent = 0.0
        for file, num_cases in Counter(file for file, _ in cases).items():
            spent += self.settings.time_budget_s * num_cases / len(cases)
            self._deadline_s[file] = spent
        self._progress = progress

    def expect(self, *cases: BenchCase, test: str) -> None:
        """Take note of cases of one cell that a test makes itself, so that no plan knows them; timed interleaved."""
        unknown = [case for case in cases if case not in self._cells]
        for case in unknown:
            self._cells[case] = (test, case.cell)
            self._cases[test, case.cell] = unknown
            self._deadline_s.setdefault(test, self.settings.time_budget_s)

    def able_providers(self, operation: str) -> list[str]:
        """The providers asked for that know this operation and can run here; the others go into the ledger, once."""
        from kinetics_kernels.providers import providers_of

        able = []
        for provider in providers_of(operation):
            if self.settings.providers and provider.name not in self.settings.providers:
                continue
            if reason := provider.unavailable_reason(self.settings.device.kind):
                self.skip(f"{operation}-{provider.name}", reason)
            else:
                able.append(provider.name)
        return able

    def measure(self, case: BenchCase) -> Recordable | str:
        """The measurement of a case, or why there is none. Its whole cell is measured on the first call.

        Raises: AssertionError if the case computed a wrong result, or whatever its provider raised.
        """
        if case not in self._outcomes:
            self._measure_cell(case)
        outcome = self._outcomes.pop(case)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def row(self, measured: Recordable) -> Row:
        """The fields of one row, beside the prediction from this session's ceilings."""
        return measured.row(self._probe().ceilings)

    def keep(self, benchmark: Document) -> None:
        """Put a finished benchmark into the journal, where Ctrl-C and `kill -9` cannot reach it."""
        if self._journal is None:
            self._journal = RowJournal(self._result_path(), self._header())
        self._journal.append(benchmark)

    def skip(self, name: str, reason: str) -> None:
        """Put a case that left no row into the ledger."""
        self._skips.append(Skip(name=name, reason=reason))

    def advance(self) -> None:
        """Move the progress bar by one test."""
        if self._progress is not None:
            self._progress.advance()

    def close_progress(self) -> None:
        """Take the progress bar away."""
        if self._progress is not None:
            self._progress.close()

    def machine_facts(self) -> dict[str, Any]:
        """Device, versions and, once something was measured, the ceilings."""
        if self._facts is None:
            self._facts = machine_facts(self.settings.device) | self._step_facts()
        return self._facts | ({"ceilings": self._probed.as_dict()} if self._probed else {})

    def complete(self, document: Document) -> None:
        """Add what this suite's files carry beyond pytest-benchmark's, and make the whole strict JSON."""
        document.update(self._own_fields())
        complete_document(document)

    def write(self, document: Document) -> None:
        """Write the result file if there is a row to write, and forget the journal."""
        self.document = document
        if document["benchmarks"]:
            self.result = self._result_path()
            write_json(self.result, document)
        if self._journal is not None:
            self._journal.discard()

    def print_summary(self, terminal: IO[str] | None) -> None:
        """The closing summary, or why there is none."""
        from kinetics.bench.summary import print_summary

        print_summary(self.document, result=self.result, recovered=self.recovered, file=terminal or sys.stdout)

    def _measure_cell(self, case: BenchCase) -> None:
        file, cell = self._cells[case]
        cases = self._cases[file, cell]
        elapsed_s = time.monotonic() - self._clock
        if elapsed_s > self._deadline_s[file]:
            budget = f"{self.settings.time_budget_s:.0f} s"
            reason = f"time budget: this file's share of {budget} was spent; raise --time-budget"
            self._outcomes.update(dict.fromkeys(cases, reason))
            return
        self._probe()
        if self._progress is not None:
            self._progress.describe(cell, num_cases=len(cases))
        self._outcomes.update(self._run_cell(cell, cases))

    def _run_cell(self, cell: Cell | StepCell, cases: Sequence[Any]) -> Mapping[Any, Recordable | str | Exception]:
        if isinstance(cell, StepCell):
            from kinetics.measure.step_runner import StepRunner

            return StepRunner(self.settings.device).run(cell, cases)
        from kinetics.measure.kernel_runner import CellRunner

        return CellRunner(self.settings.device).run(cell, cases)

    def _probe(self) -> ProbeResult:
        if self._probed is None:
            from kinetics.machine.probe import probe

            if self._progress is not None:
                self._progress.say("measuring this machine's ceilings")
            self._probed = probe(self.settings.device, self.settings.grid.dtype)
        return self._probed

    @property
    def tables(self) -> Path:
        """Where tables and figures of this run go: beside its result file."""
        return tables_folder(self._result_path())

    def _result_path(self) -> Path:
        return result_path(
            self.settings.results_dir,
            self.settings.device.slug,
            started=self._started,
            commit=self.commit,
            is_dirty=self.is_dirty,
            grid=self.settings.grid.size.value,
        )

    def _step_facts(self) -> dict[str, Any]:
        """How the dtype of decode steps was chosen, if there are any."""
        if not any(isinstance(cell, StepCell) for _, cell in self._cases):
            return {}
        from kinetics.engine.step_dtype import choose_dtype

        choice = choose_dtype(self.settings.device.kind)
        return {"step_dtype": {"choice": choice.dtype, "product_s": dict(choice.product_s), "reason": str(choice)}}

    def _header(self) -> Document:
        return {
            "machine_info": self.machine_facts(),
            "commit_info": {"id": self.commit, "dirty": self.is_dirty},
            **self._own_fields(),
        }

    def _own_fields(self) -> Document:
        return {
            "schema": SCHEMA,
            "grid": self.settings.grid.size.value,
            "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "wall_s": time.time() - self._started,
            "time_budget_s": self.settings.time_budget_s,
            "skipped": [skip._asdict() for skip in self._skips],
        }


def complete_document(document: Document) -> None:
    """Calibrate the rows of a result file against each other, and make all of it strict JSON, in place."""
    rows = [benchmark["extra_info"] for benchmark in document["benchmarks"]]
    calibrations = {name: fit.as_dict() for name, fit in calibrate(rows).items()}
    calibrations |= {name: fit.as_dict() for name, fit in calibrate_steps(rows).items()}
    strict = to_strict({**document, "calibrations": calibrations})
    document.clear()
    document.update(strict)
