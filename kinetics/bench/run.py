"""One benchmark run: what it was asked for, and the plan, machine, outcomes, file and ledger it keeps between tests.

pytest is the business of `kinetics.bench.plugin` and `kinetics.bench.run_hooks`. Where ranks share a model, each has a
run of its own; they decide together, and the first one writes.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from kinetics.bench.machine import BenchMachine
from kinetics.bench.options import BenchSettings
from kinetics.bench.outcomes import Outcomes
from kinetics.bench.plan import BenchPlan
from kinetics.bench.progress import RunProgress, SilentProgress
from kinetics.bench.result_file import RunFile
from kinetics.cases.steps import BenchCase
from kinetics.prediction.calibration import Row
from kinetics.results.kernel_row import Recordable
from kinetics.results.store import Document, Skip
from kinetics_kernels.unavailable import Unavailable

if TYPE_CHECKING:
    from kinetics.engine.tensor_parallel import RankGroup


class BenchRun:
    """Everything that one `pytest bench/` keeps between its tests. `skips`: the cases that left no row, and why.

    `recorded`: the case of each benchmark, by its full name.

    Raises: ValueError if the result folder cannot be written, or the ranks cannot come together.
    """

    def __init__(self, settings: BenchSettings) -> None:
        self.settings = settings
        self._stack = ExitStack()
        ranks = self._joined_ranks()
        self.file = RunFile(settings)
        self.plan = BenchPlan(settings.time_budget_s)
        self.machine = BenchMachine(settings.device, dtype=settings.grid.dtype, folder=self.file.folder, ranks=ranks)
        self.skips: list[Skip] = []
        self.progress: RunProgress = SilentProgress()
        self.outcomes = Outcomes(settings, self.plan, self.machine, ranks=ranks)
        self.recorded: dict[str, BenchCase] = {}

    def _joined_ranks(self) -> RankGroup | None:
        """The ranks that share a model; None if there is one."""
        if self.settings.grid.num_devices == 1:
            return None
        from kinetics.engine.tensor_parallel import joined_ranks

        kind = self.settings.device.kind
        return self._stack.enter_context(joined_ranks(self.settings.grid.num_devices, device_kind=kind))

    def close(self) -> None:
        """Leave the other ranks."""
        self._stack.close()

    def measure(self, case: BenchCase) -> Recordable | Unavailable:
        """The measurement of a case, or why there is none. Its whole cell is measured on the first call.

        Raises: AssertionError if the case computed a wrong result, or whatever its provider raised.
        """
        return self.outcomes.take(case, self.progress)

    def measure_together(self, *cases: BenchCase, test: str) -> list[Recordable | Unavailable]:
        """The measurements of cases of one cell that take turns in the same rounds, for a test that compares them.

        Raises: as `measure`.
        """
        return self.outcomes.take_together(cases, test, self.progress)

    def row(self, measured: Recordable) -> Row:
        """The fields of one row, beside the prediction from this session's ceilings."""
        return measured.row(self.machine.ceilings)

    def machine_facts(self) -> dict[str, Any]:
        """What the result file says of the machine."""
        return self.machine.facts(has_steps=self.plan.has_steps)

    def keep(self, benchmark: Document) -> None:
        """Put a finished benchmark where nothing can reach it."""
        self.file.keep(benchmark, machine_info=self.machine_facts(), skips=self.skips)

    def able_providers(self, operation: str) -> list[str]:
        """The providers asked for that know this operation and can run here; the others go into the ledger, once."""
        from kinetics_kernels.providers import providers_of

        able = []
        for provider in providers_of(operation):
            if self.settings.providers and provider.name not in self.settings.providers:
                continue
            if unavailable := provider.unavailable_on(self.settings.device.kind):
                self.skips.append(Skip(name=f"{operation}-{provider.name}", reason=unavailable.reason))
            else:
                able.append(provider.name)
        return able
