"""The pytest side of a benchmark run: options, the replay timer, the result file, and what closes the run.

Measurement happens elsewhere (`kinetics.measure.kernel_runner`); here its samples enter pytest-benchmark, and
pytest-benchmark's traps are closed: a failed check writes no row, skips are listed, the file is strict JSON in a folder
per device, and files of unlike devices are not compared. torch is not imported until a benchmark runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from kinetics.bench.options import BenchSettings, add_options, bench_settings
from kinetics.bench.progress import CellProgress
from kinetics.bench.run import BenchRun
from kinetics.cases.steps import BenchCase
from kinetics.prediction.calibration import Row

_RUN = pytest.StashKey[BenchRun]()


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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option group `kinetics`."""
    add_options(parser.getgroup("kinetics", "what to measure, and on what"))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the options of a benchmark run and refuse at once what cannot work."""
    if not _is_bench_run(config):
        return
    try:
        run = BenchRun(bench_settings(config.option, root=config.rootpath))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_RUN] = run
    config.option.benchmark_quiet = not config.option.benchmark_verbose  # the closing summary replaces its table
    if config.option.benchmark_storage == "file://./.benchmarks" and run.folder.is_relative_to(config.rootpath):
        config.option.benchmark_storage = f"file://{run.folder}"
    config.pluginmanager.register(RunHooks(config, run), "kinetics-run")


def settings_of(config: pytest.Config) -> BenchSettings:
    """What this benchmark run was asked for.

    Raises: pytest.UsageError outside a benchmark run.
    """
    return _run_of(config).settings


def able_providers(config: pytest.Config, operation: str) -> list[str]:
    """The providers to measure; those that cannot run here are listed among the skips.

    Raises: pytest.UsageError outside a benchmark run.
    """
    return _run_of(config).able_providers(operation)


@pytest.fixture
def record_case(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[BenchCase], Row]:
    """Measure a case (with its whole cell, once), record its samples, and return its row.

    Fails if the case is wrong; skips, saying why, if it cannot run here.
    """
    run = _run_of(request.config)

    def record(case: BenchCase) -> Row:
        measured = run.measure(case)
        if isinstance(measured, str):
            pytest.skip(measured)
        row = run.row(measured)
        benchmark.group = case.cell.model.slug
        benchmark.extra_info.update(row)
        if benchmark.enabled:
            REPLAY.load(list(measured.samples_s))
        benchmark.pedantic(lambda: None, rounds=len(measured.samples_s), iterations=1)
        return row

    return record


class RunHooks:
    """What pytest and pytest-benchmark call during a benchmark run, and only then."""

    def __init__(self, config: pytest.Config, run: BenchRun) -> None:
        self._config = config
        self._run = run
        self._passed: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Give every benchmark that records samples the replay timer."""
        for item in items:
            if "record_case" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.benchmark(timer=REPLAY))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Plan the cells of the cases that were selected, file by file."""
        if not self._config.option.collectonly:
            planned = [(item.path.name, case) for item in session.items if (case := _case_of(item))]
            progress = CellProgress(len(session.items), self._terminal_file(), uncaptured=self._uncaptured)
            self._run.plan(planned, progress=progress)

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
                self._run.keep(benchmark.stats.as_dict(include_data=True))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """List in the ledger what leaves no row; move the progress bar."""
        if report.failed:
            self._run.skip(report.nodeid, f"failed in {report.when}; see the run's output")
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._run.skip(report.nodeid, reason.removeprefix("Skipped: "))
        if report.when == "teardown":
            self._run.advance()

    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Add device, ceilings and library versions; drop the clock readings that change from second to second."""
        cpu = machine_info.get("cpu") or {}
        for key in [key for key in cpu if key.startswith("hz_actual")]:
            del cpu[key]
        machine_info.update(self._run.machine_facts())

    def pytest_benchmark_update_commit_info(self, commit_info: dict[str, Any]) -> None:
        """Call a tree dirty only if its sources are: result files do not count."""
        commit_info.update(id=self._run.commit, dirty=self._run.is_dirty)

    def pytest_benchmark_compare_machine_info(
        self, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
    ) -> None:
        """Refuse to compare with a file from another device."""
        here, there = machine_info.get("device_slug"), compared_benchmark["machine_info"].get("device_slug")
        if here != there:
            raise pytest.UsageError(
                f"--benchmark-compare needs a file from this device ({here}), got one from {there}; "
                "times of unlike devices say nothing about a change"
            )

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Bring a file that pytest-benchmark is about to write into this suite's schema."""
        self._run.complete(output_json)

    @pytest.hookimpl(wrapper=True, trylast=True)  # inside the terminal's, whose summary needs the file
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Write the result file, also after Ctrl-C; a benchmark run that recorded nothing does not count as passed."""
        result = yield
        self._run.close_progress()
        bench_session = self._config._benchmarksession  # type: ignore[attr-defined]
        if bench_session.disabled or bench_session.skip or self._config.option.collectonly:
            return result
        is_partial = session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        self._run.write(self._document(bench_session) | ({"is_partial": True} if is_partial else {}))
        if self._run.result is None and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        return result

    def pytest_terminal_summary(self) -> None:
        """Print what was measured beside what was predicted, what was left out, and where the file is."""
        self._run.print_summary(self._terminal_file())

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


def _run_of(config: pytest.Config) -> BenchRun:
    if _RUN not in config.stash:
        raise pytest.UsageError("benchmarks need a benchmark run: pytest bench/ --benchmark-only")
    return config.stash[_RUN]


def _is_bench_run(config: pytest.Config) -> bool:
    bench = config.rootpath / "bench"
    paths = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    return bool(config.option.benchmark_only) or any(
        path.is_relative_to(bench) or bench.is_relative_to(path) for path in paths
    )


def _case_of(item: pytest.Item) -> BenchCase | None:
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get("case") if callspec else None
    return case if isinstance(case, BenchCase) else None
