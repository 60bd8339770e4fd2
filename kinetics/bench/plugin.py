"""The pytest plugin: options, marks, and the fixture `record_case`, in every pytest run where kinetics is installed.

A run becomes a benchmark run when it collects the suite's benchmarks, or a `record_case` of anybody's under
`--benchmark-only`; every other run keeps what it was: its tables, its storage, and options of the same name that its
own conftest.py declares. Imports nothing heavy until then.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kinetics.bench.folder import reaches_benchmarks
from kinetics.bench.options import (
    RECORDING,
    BenchSettings,
    add_options,
    bench_settings,
    is_any_given,
    own_options,
    rank_of,
)
from kinetics.bench.suite_option import add_gate_options, run_gate, wants_gate
from kinetics_kernels.unavailable import Unavailable

if TYPE_CHECKING:
    from kinetics.bench.run import BenchRun
    from kinetics.cases.steps import BenchCase
    from kinetics.gate.decision import Decision
    from kinetics.prediction.calibration import Row
    from kinetics.results.kernel_row import Recordable

_RUN: pytest.StashKey[BenchRun] = pytest.StashKey()
_ADDED: pytest.StashKey[Collection[str]] = pytest.StashKey()

_MARKS = (
    "kernel: proves or measures one kernel",
    "step: measures whole decode steps",
)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser
) -> Generator[None, object, object]:
    """Add the option group `kinetics`, after every conftest.py has declared its own."""
    result = yield
    early_config.stash[_ADDED] = add_options(parser.getgroup("kinetics", "what to measure, and on what"))
    return result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--kinetics-gate` and those that go with it."""
    add_gate_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """In place of a run, judge the suite against another revision if that was asked for."""
    return run_gate(config) if wants_gate(config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks; in a benchmark run read the options and refuse at once what cannot work."""
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)
    if reaches_benchmarks(config.args, config.invocation_params.dir) or (
        _is_benchmark_only(config) and is_any_given(_options(config))
    ):
        _begin(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make a run of anybody's benchmarks one of ours if any of them records cases."""
    if _is_benchmark_only(config) and any(RECORDING & set(getattr(item, "fixturenames", ())) for item in items):
        _run_of(config)


def settings_of(config: pytest.Config) -> BenchSettings:
    """What this benchmark run was asked for.

    Raises: pytest.UsageError if an option is wrong.
    """
    return _run_of(config).settings


def step_dtype_of(config: pytest.Config) -> str:
    """The dtype in which steps multiply fastest here, the same on all ranks of a run.

    Raises: pytest.UsageError if an option is wrong.
    """
    return _run_of(config).machine.step_dtype.dtype


def tables_of(config: pytest.Config) -> Path:
    """The folder for tables and figures of this run, beside its result file.

    Raises: pytest.UsageError if an option is wrong.
    """
    return _run_of(config).file.tables


def able_providers(config: pytest.Config, operation: str) -> list[str]:
    """The providers to measure; those that cannot run here are listed among the skips.

    Raises: pytest.UsageError if an option is wrong.
    """
    return _run_of(config).able_providers(operation)


@pytest.fixture
def record_case(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[BenchCase], Row]:
    """Measure a case (with its whole cell, once), record its samples, and return its row.

    Fails if the case is wrong; skips, saying why, if it cannot run here or this is no benchmark run.
    """
    run = _running(request)

    def record(case: BenchCase) -> Row:
        run.plan.expect(case, test=request.node.nodeid)
        with _ends_on_lost_rank(request.config):
            measured = run.measure(case)
        return _record(run, benchmark, case, _or_skip(measured))

    return record


@pytest.fixture
def not_slower(request: pytest.FixtureRequest, benchmark: Any) -> Callable[..., Decision]:
    """Record a case beside another of its cell, in the same rounds, and fail if it is slower by more than a margin.

    `not_slower(candidate, than=base, margin=0.05)` returns the decision; where the rounds do not tell, it is AMBIGUOUS.
    """
    run = _running(request)

    def judge(candidate: BenchCase, *, than: BenchCase, margin: float = 0.05) -> Decision:
        from kinetics.bench.judged_pair import judge_pair

        if candidate.cell != than.cell:
            pytest.fail(f"cases must be of one cell to take turns, got {candidate} and {than}")
        measured, base = map(_or_skip, run.measure_together(candidate, than, test=request.node.nodeid))
        decision = judge_pair(measured.samples_s, base.samples_s, margin=margin)
        if decision.verdict.value == "SLOW":
            pytest.fail(f"{candidate} takes {decision.looks[0].ratio:.3f} times as long as {than}")
        _record(run, benchmark, candidate, measured)
        return decision

    return judge


@contextmanager
def _ends_on_lost_rank(config: pytest.Config) -> Iterator[None]:
    """Within it, a rank that fails ends this process, with one line that says why; torchrun ends the others."""
    if _run_of(config).settings.grid.num_devices == 1:
        yield
        return
    from kinetics.bench.run_hooks import RunHooks
    from kinetics.engine.tensor_parallel import RankFailedError

    try:
        yield
    except RankFailedError as failure:
        hooks = config.pluginmanager.get_plugin("kinetics-run")
        assert isinstance(hooks, RunHooks)
        hooks.lose_rank(str(failure), is_elsewhere=failure.is_elsewhere)


def _running(request: pytest.FixtureRequest) -> BenchRun:
    if _RUN not in request.config.stash:
        pytest.skip(f"{request.fixturename} measures in benchmark runs only: pytest --benchmark-only")
    return request.config.stash[_RUN]


def _or_skip(measured: Recordable | Unavailable) -> Recordable:
    if isinstance(measured, Unavailable):
        pytest.skip(measured.reason)
    return measured


def _record(run: BenchRun, benchmark: Any, case: BenchCase, measured: Recordable) -> Row:
    """Hand pytest-benchmark the samples and the fields of a measurement."""
    from kinetics.bench.run_hooks import REPLAY

    row = run.row(measured)
    run.recorded[benchmark.fullname] = case
    benchmark.group = case.cell.model.slug
    benchmark.extra_info.update(row)
    if benchmark.enabled:
        REPLAY.load(list(measured.samples_s))
    benchmark.pedantic(lambda: None, rounds=len(measured.samples_s), iterations=1)
    return row


def _is_benchmark_only(config: pytest.Config) -> bool:
    return bool(config.getoption("benchmark_only", False))  # absent under `-p no:benchmark`


def _options(config: pytest.Config) -> Namespace:
    added = config.stash.get(_ADDED, ())
    return own_options(config.option, added)


def _run_of(config: pytest.Config) -> BenchRun:
    if _RUN not in config.stash:
        _begin(config)
    return config.stash[_RUN]


def _begin(config: pytest.Config) -> None:
    """Make this pytest run a benchmark run, before or after pytest-benchmark has read its options."""
    from kinetics.bench.run import BenchRun
    from kinetics.bench.run_hooks import RunHooks, take_over

    is_below_root = config.invocation_params.dir.is_relative_to(config.rootpath)
    root = config.rootpath if is_below_root else config.invocation_params.dir
    try:
        run = BenchRun(bench_settings(_options(config), root=root))
    except ValueError as error:
        lines = [str(error)] if rank_of(os.environ) == 0 else []  # one rank speaks for all
        raise pytest.UsageError(*lines) from None
    config.stash[_RUN] = run
    take_over(config, run)
    config.pluginmanager.register(RunHooks(config, run), "kinetics-run")
