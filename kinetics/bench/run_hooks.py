"""What pytest and pytest-benchmark call during a benchmark run, and only then: the replay timer, rows, the result file.

Measurement happens elsewhere (`kinetics.measure.kernel_runner`); here its samples enter pytest-benchmark, and
pytest-benchmark's traps are closed: a failed check writes no row, skips are listed, the file is strict JSON in a folder
per device, and files of unlike devices are not compared. torch is not imported until a benchmark runs.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pytest_benchmark.session import BenchmarkSession

from kinetics.bench.options import RECORDING
from kinetics.bench.progress import CellProgress
from kinetics.bench.run import BenchRun
from kinetics.bench.second_look import measure_disturbed_again
from kinetics.cases.steps import BenchCase
from kinetics.files.atomic import CannotWriteError
from kinetics.results.store import Skip
from kinetics.specs.identity import identity_of


class SampleReplay:
    """A timer that hands pytest-benchmark samples measured elsewhere: it reads 0, then the sample, and so on."""

    __name__ = "kinetics_samples"  # what pytest-benchmark writes as the timer of these rows

    def __init__(self) -> None:
        self._readings: deque[float] = deque()

    def load(self, samples_s: list[float]) -> None:
        """Queue one pair of readings per sample, and nothing else."""
        self._readings.clear()
        for sample in samples_s:
            self._readings.extend((0.0, sample))

    def __call__(self) -> float:
        """The next reading."""
        return self._readings.popleft()


REPLAY = SampleReplay()
_UNTIL_TORCHRUN_ENDS_ALL_S = 5.0
"""After a rank has ended, and said why."""
_FIRST = ("kernel", "step")
"""Marks of what a run that is cut short must not lack."""


def take_over(config: pytest.Config, run: BenchRun) -> None:
    """Let the closing summary replace pytest-benchmark's table; keep what it saves in the folder of the device."""
    option = config.option
    option.benchmark_quiet = not option.benchmark_verbose
    if option.benchmark_storage == "file://./.benchmarks" and run.file.folder.is_relative_to(run.settings.root):
        option.benchmark_storage = f"file://{run.file.folder}"
    session = getattr(config, "_benchmarksession", None)
    if session is not None:  # its options were read before this run turned out to be ours
        session.quiet = option.benchmark_quiet
        session.storage = BenchmarkSession(config).storage  # type: ignore[no-untyped-call]


class RunHooks:
    """What pytest and pytest-benchmark call during a benchmark run, and only then."""

    def __init__(self, config: pytest.Config, run: BenchRun) -> None:
        self._config = config
        self._run = run
        self._passed: set[str] = set()
        self._lost: str | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Let the first of several ranks speak alone."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if self._run.settings.rank > 0 and reporter is not None:
            reporter._tw._file = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Measure kernels and steps before all else; give every benchmark that records samples the replay timer."""
        if self._run.settings.grid.num_devices > 1 and any(not item.get_closest_marker("step") for item in items):
            raise pytest.UsageError("--tp is for decode steps alone: pytest bench/test_decode_step.py --tp ...")
        items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in _FIRST))
        for item in items:
            if RECORDING & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.benchmark(timer=REPLAY))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Plan the cells of the cases that were selected, file by file."""
        if not self._config.option.collectonly:
            planned = [(item.path.name, case) for item in session.items if (case := _case_of(item))]
            self._run.plan.select(planned)
            self._run.progress = CellProgress(len(session.items), self._terminal_file(), uncaptured=self._uncaptured)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        """Keep the row of a test that failed after it measured out of the file; journal the row of one that passed."""
        report = yield
        benchmark = getattr(item, "funcargs", {}).get("benchmark")
        if call.when == "call" and benchmark is not None:
            if call.excinfo is not None:
                benchmark.has_error = True
            elif benchmark.stats is not None:
                self._passed.add(item.nodeid)
                self._keep(benchmark.stats.as_dict(include_data=True), item.session)
        return report

    def _keep(self, row: dict[str, Any], session: pytest.Session) -> None:
        """Journal a row, or end the session: what could not be kept need not be measured."""
        try:
            self._run.keep(row)
        except CannotWriteError as error:
            if self._run.settings.grid.num_devices > 1:
                self.lose_rank(str(error), is_elsewhere=False)
            session.shouldstop = "a row cannot be written"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """List in the ledger what leaves no row; move the progress bar."""
        if report.failed:
            self._skip(report.nodeid, f"failed in {report.when}; see the run's output")
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._skip(report.nodeid, reason.removeprefix("Skipped: "))
        if report.when == "teardown":
            self._run.progress.advance()

    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Add device, ceilings and library versions; drop the clock readings that change from second to second."""
        cpu = machine_info.get("cpu") or {}
        for key in [key for key in cpu if key.startswith("hz_actual")]:
            del cpu[key]
        machine_info.update(self._run.machine_facts())

    def pytest_benchmark_update_commit_info(self, commit_info: dict[str, Any]) -> None:
        """Call a tree dirty only if its sources are: result files do not count."""
        commit_info.update(id=self._run.file.commit, dirty=self._run.file.is_dirty)

    def pytest_benchmark_compare_machine_info(
        self, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
    ) -> None:
        """Refuse to compare with a file from another device."""
        here, there = identity_of(machine_info), identity_of(compared_benchmark["machine_info"])
        if differences := here.differences(there):
            raise pytest.UsageError(
                f"--benchmark-compare needs a file from this device ({here.title}), got one that differs in "
                f"{'; '.join(differences)}; times of unlike devices say nothing about a change"
            )

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Bring a file that pytest-benchmark is about to write into this suite's schema."""
        self._run.file.complete(output_json, self._run.skips)

    @pytest.hookimpl(wrapper=True, trylast=True)  # inside the terminal's, whose summary needs the file
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Write the result file, also after Ctrl-C; a benchmark run that recorded nothing does not count as passed."""
        result = yield
        bench_session = self._config._benchmarksession  # type: ignore[attr-defined]
        if bench_session.disabled or bench_session.skip or self._config.option.collectonly:
            self._run.progress.close()
            return result
        is_partial = session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not is_partial and self._run.settings.grid.num_devices == 1:
            self._look_again(session, bench_session)
        self._run.progress.close()
        self._run.file.write(self._document(bench_session) | ({"is_partial": True} if is_partial else {}))
        if self._run.file.problem is not None:
            session.exitstatus = CannotWriteError.exit_code
        elif not self._run.file.document["benchmarks"] and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        return result

    def _look_again(self, session: pytest.Session, bench_session: Any) -> None:
        """Measure again what others disturbed; what is wrong the second time has no row, and the run has failed."""
        kept = [bench for bench in bench_session.benchmarks if bench.fullname in self._passed]
        if wrong := measure_disturbed_again(self._run, kept):
            self._passed -= wrong
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def lose_rank(self, why: str, *, is_elsewhere: bool) -> NoReturn:
        """End the session of this rank; the one that failed says why, and one that waits for it only if nobody does.

        Raises: pytest.exit.Exception
        """
        self._lost = f"kinetics: {why}; all ranks end"
        if not is_elsewhere:
            self._say_lost()
        pytest.exit("a rank failed", returncode=1)

    def _say_lost(self) -> None:
        with self._uncaptured():
            print(self._lost, file=sys.__stderr__, flush=True)
        self._lost = ""

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Leave the other ranks; without a word to them if one failed, for no answer would come."""
        if self._lost is None:
            self._run.close()
            return
        sys.stdout.flush()
        if self._lost:
            time.sleep(_UNTIL_TORCHRUN_ENDS_ALL_S)
            self._say_lost()
        os._exit(1)

    def pytest_terminal_summary(self) -> None:
        """Print what was measured beside what was predicted, what was left out, and where the file is."""
        from kinetics.bench.summary import print_summary

        file, terminal = self._run.file, self._terminal_file() or sys.stdout
        print_summary(file.document, result=file.written, recovered=file.recovered, problem=file.problem, file=terminal)

    def _skip(self, name: str, reason: str) -> None:
        self._run.skips.append(Skip(name=name, reason=reason))

    def _terminal_file(self) -> Any:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter._tw._file if reporter else None

    def _uncaptured(self) -> AbstractContextManager[None]:
        """Within it, what is written reaches the terminal even in the middle of a test."""
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else nullcontext()

    def _document(self, bench_session: Any) -> dict[str, Any]:
        hook = self._config.hook
        machine_info = bench_session.get_machine_info()
        commit_info = hook.pytest_benchmark_generate_commit_info(config=self._config)
        hook.pytest_benchmark_update_commit_info(config=self._config, commit_info=commit_info)
        document: dict[str, Any] = hook.pytest_benchmark_generate_json(
            config=self._config,
            benchmarks=[bench for bench in bench_session.benchmarks if bench.fullname in self._passed],
            include_data=True,
            machine_info=machine_info,
            commit_info=commit_info,
        )
        hook.pytest_benchmark_update_json(
            config=self._config, benchmarks=bench_session.benchmarks, output_json=document
        )
        return document


def _case_of(item: pytest.Item) -> BenchCase | None:
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get("case") if callspec else None
    return case if isinstance(case, BenchCase) else None
