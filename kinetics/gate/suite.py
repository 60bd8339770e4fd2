"""A gate for any pytest-benchmark suite: its tests in two checkouts, in lockstep, until each is decided or time is up.

Knows nothing of the suite but what pytest collects. Says in a line what it cannot judge, and judges the rest.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kinetics.files.atomic import check_can_write
from kinetics.files.printable import one_line
from kinetics.gate.checkout import checked_out, commit_of
from kinetics.gate.evidence import BASE, CANDIDATE, CaseRun
from kinetics.gate.process import WorkerLost
from kinetics.gate.sequential import LOOKS, check_budget
from kinetics.gate.suite_launch import Collected, SuiteSetting, collect, run_suite_launch
from kinetics.gate.suite_verdicts import complete_suite, is_open
from kinetics.machine.facts import source_state
from kinetics.machine.identity import cpu_identity
from kinetics.results.journal import RowJournal
from kinetics.results.recovery import recover_journals
from kinetics.results.store import SCHEMA, Document, check_writable

OPTION: Final = "--kinetics-gate"
SUITE: Final = "suite"
"""Kind of the document; a file of `kinetics gate` is of another."""
INTERRUPTED: Final = "interrupted"
_BUILD_TIMEOUT_S: Final = 3600.0
_GRACE_S: Final = 30.0
"""A launch that began in time may go on for this long; half a launch is evidence, too."""
_REMEDY: Final = (
    "let pytest find the checkout first (the ini option pythonpath, or PYTHONPATH), or build the base in place: "
    f"{OPTION}-build"
)
_BUILD_REMEDY: Final = f"does it need a build? {OPTION}-build COMMAND runs one in the base's checkout"
Say = Callable[[str], None]


class CannotJudgeError(ValueError):
    """The suite, or its base, cannot be judged here at all; the message says why and what to do."""

    exit_code = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRequest:
    """What a user asks. `root`: the checkout; `build`: a command for the shell, run in the base's checkout, or empty.

    `folder`: of this gate alone, for journals and for documents unless `out` names another file.
    """

    root: Path
    base: str
    setting: SuiteSetting
    minutes: float
    budget: float
    build: str
    folder: Path
    out: Path | None


def gate_suite(request: SuiteRequest, say: Say) -> tuple[Document, Path]:
    """Judge the tests of the working tree against those of the base; the document, and where it was written.

    Raises: ValueError for a usage that cannot work; CannotJudgeError; WorkerLost if a side cannot even start.
    """
    check_budget(request.budget)
    check_writable(request.folder, remedy="choose another with -o cache_dir=FOLDER")
    (request.folder / ".gitignore").write_text("*\n")
    check_can_write(request.out)
    commit = commit_of(request.root, request.base, option=OPTION)
    for recovered in recover_journals(request.folder, complete=complete_suite):
        say(str(recovered))
    with ExitStack() as stack:
        base_root = stack.enter_context(checked_out(request.root, commit))
        setting = replace(
            request.setting, cache_dir=stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        )
        roots = {BASE: base_root, CANDIDATE: request.root}
        if request.build:
            say(f"building the base: {request.build}")
            build_base(base_root, request.build, commit)
        say("collecting both sides, twice")
        facts = collected_facts([collect(roots, setting) for _ in range(2)], commit)
        document = _document(request, commit, facts)
        return _run(request, roots, setting, document, say)


def build_base(root: Path, command: str, commit: str) -> None:
    """Run the user's command in the base's checkout.

    Raises: CannotJudgeError with its last words if it fails.
    """
    how: Any = {"cwd": root, "capture_output": True, "text": True, "errors": "replace", "timeout": _BUILD_TIMEOUT_S}
    try:
        done = subprocess.run(command, shell=True, check=False, **how)  # noqa: S602 - the user's own command line
    except subprocess.TimeoutExpired:
        raise CannotJudgeError(
            f"the base revision {commit[:7]} cannot be built: {command!r} took over an hour"
        ) from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise CannotJudgeError(
            f"the base revision {commit[:7]} cannot be built: {command!r} ended with exit code {done.returncode}: "
            f"{one_line(words)}"
        )


def collected_facts(twice: list[dict[str, Collected]], commit: str) -> dict[str, Any]:
    """Which tests both sides have, which one alone, and what is left out: from two collections of each side.

    Raises: CannotJudgeError if a side has nothing to time, or would time the other's code.
    """
    first, second = twice
    for side, name in ((BASE, f"the base revision {commit[:7]}"), (CANDIDATE, "the candidate")):
        found = first[side]
        if found.foreign:
            raise CannotJudgeError(f"{name}: {one_line(found.foreign)}; {_REMEDY}")
        if not found.tests and found.errors:
            raise CannotJudgeError(f"{name} cannot be collected: {one_line(found.errors[0])}; {_BUILD_REMEDY}")
    if not first[CANDIDATE].tests:
        raise CannotJudgeError(
            "the candidate must have a test that uses the fixture benchmark, got none; name its files"
        )
    unstable = {test for side in first for test in set(first[side].tests) ^ set(second[side].tests)}
    base, candidate = (
        {test: source for test, source in first[side].tests.items() if test not in unstable}
        for side in (BASE, CANDIDATE)
    )
    return {
        "tests": [test for test in candidate if test in base],
        "new": [test for test in candidate if test not in base],
        "missing": [test for test in base if test not in candidate],
        "changed": [test for test in candidate if test in base and candidate[test] != base[test]],
        "left_out": _left_out(first, unstable),
    }


def _left_out(first: Mapping[str, Collected], unstable: set[str]) -> list[str]:
    lines = [f"{side}: not collected: {one_line(error)}" for side in first for error in first[side].errors]
    if unstable:
        lines.append(
            f"{len(unstable)} ids change from one collection to the next, such as {one_line(min(unstable), limit=80)}: "
            "not judged; give these parameters ids that stay"
        )
    if count := first[CANDIDATE].num_recording:
        lines.append(f"{count} tests record cases of this suite: left to kinetics gate --base REVISION")
    return lines


def _document(request: SuiteRequest, commit: str, facts: Mapping[str, Any]) -> Document:
    candidate, is_dirty = source_state(request.root)
    device, settings = cpu_identity(), {"budget": request.budget, "minutes": request.minutes}
    machine = {"device": device.name, "device_kind": "cpu", "device_slug": device.slug, "identity": device.as_dict()}
    return {
        "schema": SCHEMA,
        "kind": SUITE,
        "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine_info": machine,
        "commit_info": {"id": candidate, "dirty": is_dirty},
        "base": {"revision": request.base, "id": commit},
        "settings": {**settings, "arguments": list(request.setting.arguments)},
        **facts,
        "benchmarks": [],
        "runs": [],
    }


def _run(
    request: SuiteRequest, roots: Mapping[str, Path], setting: SuiteSetting, document: Document, say: Say
) -> tuple[Document, Path]:
    """Launch until every test is decided or the minutes are over; what was measured is judged and written anyhow."""
    name = f"{document['started_utc'].replace(':', '')}_{document['base']['id'][:7]}.json"
    journal = RowJournal(request.folder / name)
    journal.start(document)
    runs: list[CaseRun] = []
    started, document["lost"] = time.monotonic(), None
    try:
        for launch in range(LOOKS[-1]):
            spent_s = time.monotonic() - started
            wanted = [
                test
                for test in document["tests"]
                if is_open([run for run in runs if run.case == test], budget=request.budget)
            ]
            if not wanted or spent_s > 60 * request.minutes:
                break
            say(f"launch {launch + 1}: {len(wanted)} of {len(document['tests'])} tests are open, {spent_s:.0f} s spent")
            for run in run_suite_launch(roots, setting, wanted, launch=launch):
                runs.append(run)
                journal.append(run.as_row())
                if time.monotonic() - started > 60 * request.minutes + _GRACE_S:
                    break
    except WorkerLost as loss:
        document["lost"] = str(loss)
    except KeyboardInterrupt:
        document["lost"] = INTERRUPTED
    document["runs"] = [run.as_row() for run in runs]
    document["is_partial"] = document["lost"] is not None
    document["wall_s"] = time.monotonic() - started
    complete_suite(document)
    path = request.out or journal.result
    journal.finish(path, document)
    return document, path
