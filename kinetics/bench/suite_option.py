"""`pytest --kinetics-gate BASE`: the option, and what it makes of a pytest run of any pytest-benchmark suite.

The run collects nothing itself: it starts pytest in a checkout of the base and in this one, and ends with the verdicts.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

from kinetics.bench.folder import benchmarks_folder

if TYPE_CHECKING:
    from kinetics.gate.suite import SuiteRequest
    from kinetics.results.store import Document

_OPTIONS: Final = (
    ("--kinetics-gate", "", "BASE", "judge each test that uses `benchmark` against this git revision, in lockstep"),
    (
        "--kinetics-gate-minutes",
        "10",
        "NUMBER",
        "launch until this long has gone by; what is open then is AMBIGUOUS",
    ),
    ("--kinetics-gate-budget", "5", "PERCENT", "a slow-down below this is none (default 5)"),
    ("--kinetics-gate-build", "", "COMMAND", "run in the base's checkout first, where it must be built to be imported"),
    ("--kinetics-gate-out", "", "FILE", "where the result document goes (default: in pytest's cache folder)"),
    ("--kinetics-gate-markdown", "", "FILE", "also write the table as Markdown"),
    ("--kinetics-gate-bmf", "", "FILE", "also write Bencher Metric Format"),
)
_USAGE, _INVALID, _INTERRUPTED = 2, 3, 130
"""Exit codes, as those of the command `kinetics`."""
SIDE: Final = "KINETICS_GATE_SIDE"
"""Set within a side of the gate, which must not start another."""


def add_gate_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("kinetics-gate", "is any benchmark slower than at another revision?")
    for name, default, metavar, text in _OPTIONS:
        group.addoption(name, default=default, metavar=metavar, help=text)


def wants_gate(config: pytest.Config) -> bool:
    """Whether this run is to be a gate."""
    return bool(config.getoption("kinetics_gate", "")) and SIDE not in os.environ


def run_gate(config: pytest.Config) -> int:
    """Judge the suite, print the verdicts; the exit code of `kinetics gate`."""
    from kinetics.gate.suite import INTERRUPTED, gate_suite
    from kinetics.gate.suite_verdicts import suite_verdicts
    from kinetics.gate.verdicts import exit_code

    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:4.0f} s] {text}", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled job keeps its evidence, too
    try:
        if _named(config) and all(map(_is_our_own, _named(config))):
            _become_own_gate(config)
        document, path = gate_suite(_request(config), say)
        _show(document, path, config)
    except (ValueError, RuntimeError) as error:
        print(f"pytest --kinetics-gate: {error}", file=sys.stderr)
        return int(getattr(error, "exit_code", _USAGE))
    except KeyboardInterrupt:
        print("pytest --kinetics-gate: interrupted before the first launch", file=sys.stderr)
        return _INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    if document["lost"]:
        return _INTERRUPTED if document["lost"] == INTERRUPTED else _INVALID
    return exit_code(suite_verdicts(document), is_strict=False)


def _request(config: pytest.Config) -> SuiteRequest:
    """Raises: ValueError naming an option that cannot be meant."""
    from kinetics.gate.checkout import checkout_at
    from kinetics.gate.suite import SuiteRequest
    from kinetics.gate.suite_launch import SuiteSetting

    start = config.invocation_params.dir
    root = checkout_at(start)
    arguments = relative_arguments(without_gate_options(map(str, config.invocation_params.args)), start, root)
    files = tuple(word for word in arguments if not word.startswith("-") and (start / word.split("::")[0]).exists())
    if any(map(_is_our_own, _named(config))):
        raise ValueError(
            "benchmarks of kinetics itself are judged by cases of their own, got other tests beside them; "
            "name either alone"
        )
    out = config.getoption("kinetics_gate_out")
    has_cache = config.pluginmanager.hasplugin("cacheprovider")
    cache = config.rootpath / (config.getini("cache_dir") if has_cache else ".pytest_cache") / "kinetics-gate"
    setting = SuiteSetting(
        folder=str(start.resolve().relative_to(root)),
        arguments=(*arguments, *(["-n0"] if config.pluginmanager.hasplugin("xdist") else [])),
        files=files,
        paths=tuple(search_path(sys.path, root)),
        cache_dir="",
    )
    return SuiteRequest(
        root=root,
        base=config.getoption("kinetics_gate"),
        setting=setting,
        minutes=_number(config, "--kinetics-gate-minutes"),
        budget=_number(config, "--kinetics-gate-budget") / 100,
        build=config.getoption("kinetics_gate_build"),
        folder=cache,
        out=start / out if out else None,
    )


def _named(config: pytest.Config) -> list[Path]:
    """The files and folders that pytest would collect."""
    return [(config.invocation_params.dir / word.split("::")[0]).resolve() for word in map(str, config.args)]


def _is_our_own(path: Path) -> bool:
    return path.is_relative_to(benchmarks_folder())


def _become_own_gate(config: pytest.Config) -> NoReturn:
    """Become `kinetics gate --base`, whose cases are the suite's own benchmarks: signals and exit code are its own.

    Raises: ValueError naming an option that these cases do not have.
    """
    defaults = {name: default for name, default, *_ in _OPTIONS}
    for name, why in (("--kinetics-gate-budget", "budgets stand in kinetics/gate/cases.py"),
                      ("--kinetics-gate-build", "nothing is built")):  # fmt: skip
        if config.getoption(name.lstrip("-").replace("-", "_")) != defaults[name]:
            raise ValueError(f"{name} must be left out for the benchmarks of kinetics itself: {why}")
    words = [
        "--base",
        config.getoption("kinetics_gate"),
        "--minutes",
        f"{_number(config, '--kinetics-gate-minutes'):g}",
    ]
    for option in ("out", "markdown", "bmf"):
        if value := config.getoption(f"kinetics_gate_{option}"):
            words += [f"--{option}", value]
    command = [sys.executable, "-m", "kinetics", "gate", *words]
    told = f"{shlex.join(['kinetics', *command[3:]])} (its own cases: files, -k and -m do not choose among them)"
    print(f"pytest --kinetics-gate: {told}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os.chdir(config.invocation_params.dir)
    os.execv(sys.executable, command)  # noqa: S606 - ourselves


def without_gate_options(arguments: Iterable[str]) -> list[str]:
    """The arguments of this run that a side of the gate is to have, too."""
    names, kept, is_value = {name for name, *_ in _OPTIONS}, [], False
    for word in arguments:
        if is_value:
            is_value = False
        elif word in names:
            is_value = True
        elif word.partition("=")[0] not in names:
            kept.append(word)
    return kept


def relative_arguments(arguments: Sequence[str], start: Path, root: Path) -> list[str]:
    """Absolute paths within the checkout as seen from where pytest was started: the base has its own."""
    found = []
    for word in arguments:
        path = Path(word.split("::")[0])
        if path.is_absolute() and path.resolve().is_relative_to(root):
            word = os.path.relpath(path.resolve(), start.resolve()) + word[len(str(path)) :]
        found.append(word)
    return found


def search_path(paths: Iterable[str], root: Path) -> list[str]:
    """Python's search path for either side: folders of the checkout relative to it, others as they are."""
    found = []
    for path in dict.fromkeys(Path(entry or ".").resolve() for entry in paths):
        is_own = path.is_relative_to(root) and not path.is_relative_to(Path(sys.prefix).resolve())
        found.append(str(path.relative_to(root)) if is_own else str(path))
    return found


def _number(config: pytest.Config, name: str) -> float:
    text = config.getoption(name.lstrip("-").replace("-", "_"))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1e6:
        raise ValueError(f"{name} must be a number above 0, got {text!r}")
    return value


def _show(document: Document, path: Path, config: pytest.Config) -> None:
    from kinetics.files.atomic import write_json, write_text
    from kinetics.files.printable import printable
    from kinetics.gate.bencher_metrics import bencher_metrics
    from kinetics.gate.suite_tables import suite_markdown, suite_remarks, suite_table, suite_title

    start = config.invocation_params.dir
    print(f"{printable(suite_title(document))}\n{suite_table(document).as_text()}\n")
    print("\n".join(map(printable, [*suite_remarks(document), f"Result file: {path}"])))
    if markdown := config.getoption("kinetics_gate_markdown"):
        write_text(start / markdown, suite_markdown(document))
    if metrics := config.getoption("kinetics_gate_bmf"):
        write_json(start / metrics, bencher_metrics(document))
