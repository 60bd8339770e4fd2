"""The result file of a run in the making: its name, its header, the journal that outlives the process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinetics.bench.options import BenchSettings
from kinetics.files.atomic import CannotWriteError, to_strict
from kinetics.machine.facts import source_state
from kinetics.prediction.calibration import calibrate
from kinetics.prediction.step_calibration import calibrate_steps
from kinetics.results.disturbance import disturbed_rows
from kinetics.results.journal import RowJournal
from kinetics.results.recovery import Recovered, recover_journals
from kinetics.results.store import SCHEMA, Document, Skip, check_writable, result_path, tables_folder


class RunFile:
    """What a run writes. Rows go to the journal one by one; the file is written once, in the end; by the first rank.

    `problem`: why there is a row that could not be written, or no file; None if all is well.

    Raises: ValueError if the result folder cannot be written.
    """

    def __init__(self, settings: BenchSettings) -> None:
        self.folder = settings.results_dir / settings.device.slug
        self.recovered: list[Recovered] = []
        if settings.rank == 0:
            check_writable(self.folder)
            self.recovered = recover_journals(self.folder, complete=complete_document)
        self.commit, self.is_dirty = source_state(settings.root)
        self.written: Path | None = None
        self.problem: str | None = None
        self.document: Document = {}
        self._settings = settings
        self._started = time.time()
        self._journal: RowJournal | None = None

    def keep(self, benchmark: Document, *, machine_info: dict[str, Any], skips: Sequence[Skip]) -> None:
        """Put a finished benchmark into the journal, where Ctrl-C and `kill -9` cannot reach it.

        Raises: CannotWriteError.
        """
        if self._settings.rank > 0:
            return
        try:
            journal = self._claimed()
            if not journal.has_header:
                commit_info = {"id": self.commit, "dirty": self.is_dirty}
                journal.start({"machine_info": machine_info, "commit_info": commit_info, **self._own_fields(skips)})
            journal.append(benchmark)
        except CannotWriteError as error:
            self.problem = str(error)
            raise

    def complete(self, document: Document, skips: Sequence[Skip]) -> None:
        """Add what this suite's files carry beyond pytest-benchmark's, and make the whole strict JSON, in place."""
        document.update(self._own_fields(skips))
        complete_document(document)

    def write(self, document: Document) -> None:
        """Write the file if there is a row to write, and forget the journal; where that fails, `problem` says why."""
        self.document = document
        if document["benchmarks"] and self._settings.rank == 0:
            try:
                journal = self._claimed()
                journal.finish(journal.result, document)
                self.written = journal.result
            except CannotWriteError as error:
                self.problem = str(error)
        elif self._journal is not None:
            self._journal.discard()

    @property
    def tables(self) -> Path:
        """Where tables and figures of the run go: beside the file."""
        return tables_folder(self._wanted() if self._settings.rank > 0 else self._claimed().result)

    def _claimed(self) -> RowJournal:
        """The journal, which has the file's name for this run alone."""
        if self._journal is None:
            self._journal = RowJournal(self._wanted())
        return self._journal

    def _wanted(self) -> Path:
        return result_path(
            self._settings.results_dir,
            self._settings.device.slug,
            started=self._started,
            commit=self.commit,
            is_dirty=self.is_dirty,
            grid=self._settings.grid.size.value,
        )

    def _own_fields(self, skips: Sequence[Skip]) -> Document:
        return {
            "schema": SCHEMA,
            "grid": self._settings.grid.size.value,
            "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "wall_s": time.time() - self._started,
            "time_budget_s": self._settings.time_budget_s,
            "skipped": [skip._asdict() for skip in skips],
        }


def complete_document(document: Document) -> None:
    """Calibrate the rows of a result file against each other, and make all of it strict JSON, in place."""
    rows = [benchmark["extra_info"] for benchmark in document["benchmarks"]]
    calibrations = {name: fit.as_dict() for name, fit in calibrate(rows).items()}
    told = disturbed_rows(rows)
    document.update({"disturbed": told} if told else {})
    calibrations |= {name: fit.as_dict() for name, fit in calibrate_steps(rows).items()}
    strict = to_strict({**document, "calibrations": calibrations})
    document.clear()
    document.update(strict)
