"""Stored files of a folder as one series per case: runs of one device, one setting and one way of timing, by date.

Reads files of the gate and result files of benchmarks; a case timed beside its twin and one timed alone are two
series. What cannot be read, or is of no use here, is named and left out; the rest is judged.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from kinetics.files.lines import DataFileError
from kinetics.gate.evidence import CANDIDATE, CaseRun, case_run
from kinetics.gate.gate_file import read_gate_file
from kinetics.gate.stored import is_accepted, machine_difference, normalised
from kinetics.gate.trend import Point
from kinetics.results.reader import Origin, read_result_files
from kinetics.results.store import Document, read_result
from kinetics.specs.identity import identity_of

_SECONDS_PER_DAY: Final = 86400.0
GATE: Final = "gate"
BENCH: Final = "bench"


class SeriesKey(NamedTuple):
    """Whose points one series holds. `source`: timed by the gate, beside a twin, or by a benchmark run, alone."""

    device: str
    source: str
    case: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a folder holds: points by series, the newest run first, and a line on everything that is left out."""

    series: Mapping[SeriesKey, list[Point]]
    num_files: int
    left_out: list[str] = field(default_factory=list)


class _Case(NamedTuple):
    """One case of one file. `form`: what it must share with the others of its series besides its name."""

    name: str
    form: Any
    log_time: float
    log_canary: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One file."""

    path: Path
    source: str
    day: float
    commit: str
    machine: Mapping[str, Any]
    cases: list[_Case]


def read_history(folder: Path) -> History:
    """Every run below a folder.

    Raises: DataFileError if the folder does not exist or holds no file that is a run of the gate or of benchmarks.
    """
    if not folder.is_dir():
        raise DataFileError(
            f"{folder}: must be a folder of result files, got none; name the folder of a device in runs/"
        )
    runs, left_out = _read_runs(folder)
    if not runs:
        why = f"; first: {left_out[0]}" if left_out else ""
        raise DataFileError(
            f"{folder}: must hold files of kinetics gate or of benchmark runs, got none that can be used{why}"
        )
    runs.sort(key=lambda run: run.day, reverse=True)
    return History(series=_series(runs, left_out), num_files=len(runs), left_out=left_out)


def _read_runs(folder: Path) -> tuple[list[_Run], list[str]]:
    runs: dict[tuple[str, float, str], _Run] = {}
    left_out: list[str] = []
    for path in sorted((*folder.rglob("*.json"), *folder.rglob("*.json.gz"))):
        if path.name.startswith("."):  # half written, or a probe
            continue
        try:
            run = _read_run(path)
        except ValueError as error:
            left_out.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        twin = runs.setdefault((run.source, run.day, run.commit), run)
        if twin is not run:
            left_out.append(f"{path}: left out, it is the same run as {twin.path.name}")
    return list(runs.values()), left_out


def _read_run(path: Path) -> _Run:
    """Raises: ValueError if it is no run, or does not say what is needed."""
    document = read_result(path)
    is_gate = document.get("kind") == GATE
    if is_gate:
        document = read_gate_file(path)
    cases = list(_gate_cases(document) if is_gate else _bench_cases(path))
    if not cases:
        raise DataFileError(f"{path}: holds no case that was timed undisturbed and with its canary")
    commit = document.get("commit_info")
    return _Run(
        path=path,
        source=GATE if is_gate else BENCH,
        day=_day(document),
        commit=str(commit.get("id")) if isinstance(commit, Mapping) else "",
        machine=document["machine_info"],
        cases=cases,
    )


def _day(document: Document) -> float:
    started = document.get("started_utc")
    try:
        moment = datetime.strptime(str(started), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(
            f"started_utc must be a time such as 2026-01-31T12:00:00Z, got {str(started)[:40]!r}"
        ) from None
    return moment.timestamp() / _SECONDS_PER_DAY


def _gate_cases(document: Document) -> Iterator[_Case]:
    """The candidate's launches that count, but those of a case that was called SLOW or INVALID: it was not taken."""
    runs = [case_run(row) for row in document["runs"]]
    for plan in document["cases"]:
        counting = [run for run in runs if run.case == plan["name"] and run.counts and _is_timed(run)]
        if counting and is_accepted(plan["name"], plan["spec"], document):
            yield _Case(
                name=plan["name"],
                form=plan["spec"],
                log_time=statistics.median(map(normalised, counting)),
                log_canary=statistics.median(math.log(run.canary_bytes_per_s[CANDIDATE]) for run in counting),
            )


def _is_timed(run: CaseRun) -> bool:
    return min(run.median_s.get(CANDIDATE, 0.0), run.canary_bytes_per_s.get(CANDIDATE, 0.0)) > 0.0


def _bench_cases(path: Path) -> Iterator[_Case]:
    file = read_result_files([path])[0]
    if file.origin is not Origin.MEASURED:
        raise DataFileError(f"{path}: left out, its times were published by somebody else")
    for row in file.rows:
        canary = row.fields.get("canary_bytes_per_s")
        if canary and not row.fields.get("disturbed"):
            yield _Case(
                name=str(row.fields.get("case") or row.name),
                form=row.case_key,
                log_time=math.log(row.median_s * canary),
                log_canary=math.log(canary),
            )


def _series(runs: list[_Run], left_out: list[str]) -> dict[SeriesKey, list[Point]]:
    """Points by series; `runs` come newest first, and the newest says which device, and which form of a case, it is."""
    devices: list[tuple[str, Mapping[str, Any]]] = []
    forms: dict[SeriesKey, Any] = {}
    series: dict[SeriesKey, list[Point]] = defaultdict(list)
    num_older_forms: dict[str, int] = defaultdict(int)
    for run in runs:
        device = _device(run, devices)
        for case in run.cases:
            key = SeriesKey(device=device, source=run.source, case=case.name)
            if forms.setdefault(key, case.form) != case.form:
                num_older_forms[case.name] += 1
                continue
            series[key].append(Point(day=run.day, log_time=case.log_time, log_canary=case.log_canary))
    left_out += [
        f"{name}: {count} runs left out, in another form than its newest" for name, count in num_older_forms.items()
    ]
    return dict(series)


def _device(run: _Run, devices: list[tuple[str, Mapping[str, Any]]]) -> str:
    """The name of the run's device, told from others of that name; `devices` grows."""
    for name, machine in devices:
        if machine_difference(machine, run.machine) is None:
            return name
    title = identity_of(run.machine).title or "unknown device"
    number = 1 + sum(name.partition(" #")[0] == title for name, _ in devices)
    devices.append((title if number == 1 else f"{title} #{number}", run.machine))
    return devices[-1][0]
