"""The three runs of the gate: two checkouts in lockstep, one against stored files, one revision against itself.

Puts the rooms together; decides nothing of its own. Every run leaves one file, `runs/<device>/gate/...`, and a whole
self test `runs/<device>/gate/aa-<grid>.json`, which later runs on the machine go by.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from kinetics.files.atomic import write_json
from kinetics.gate.cases import GateGrid, gate_cases
from kinetics.gate.checkout import checked_out, commit_of, repository_root
from kinetics.gate.circumstances import circumstances
from kinetics.gate.decision import MIN_LAUNCHES
from kinetics.gate.evidence import BASE, CANDIDATE
from kinetics.gate.gate_file import Mode, complete, header, read_gate_file, read_self_test, same_cases
from kinetics.gate.identity import identities
from kinetics.gate.instructions import instructions
from kinetics.gate.launch import NUM_ROUNDS, LaunchCase
from kinetics.gate.referee import NOT_JUDGED, judge_by_base, referee
from kinetics.gate.self_test import case_plans, plan_for
from kinetics.gate.sequential import LOOKS, RULE
from kinetics.gate.session import Machine, Say, Session, launch_setup, probe_machine, take_two_looks, until_lost
from kinetics.gate.stored import stored_baseline
from kinetics.gate.union import joined, told_grid
from kinetics.gate.until_decided import Patience, take_until_decided
from kinetics.gate.verdicts import CasePlan
from kinetics.machine.facts import source_state
from kinetics.results.recovery import recover_journals
from kinetics.results.store import RUNS, Document, check_writable, result_path

JUDGED_LAUNCHES = 5
"""Launches a look against stored files unless told otherwise, and the number that a self test speaks of."""
DEFAULT_MINUTES = 10.0
"""For which the gate asks on while a case is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What a user asks of any of the runs. `out`: where the file goes, in place of the results folder.

    `num_launches`: of a look; where the gate asks until it knows, the most of a case. `minutes`: for which it may ask.
    `times_all`: cases that are the same code are timed, too.
    """

    start: Path
    device: str
    grid: GateGrid
    num_launches: int
    results_dir: Path | None
    out: Path | None
    times_all: bool = False
    minutes: float = DEFAULT_MINUTES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """The candidate's checkout, its machine, and where this run's files lie."""

    root: Path
    commit: str
    is_dirty: bool
    machine: Machine
    folder: Path
    journal_at: Path


def gate_in_lockstep(request: GateRequest, *, base: str, say: Say) -> tuple[Document, Path]:
    """Judge the working tree against the revision `base`; return the document and where it was written.

    Raises: ValueError for a usage that cannot work; WorkerLost if the base cannot even start.
    """
    _check_launches(request.num_launches, LOOKS[0])
    root = repository_root(request.start)
    base_commit = commit_of(root, base)
    with ExitStack() as stack:
        base_root = stack.enter_context(checked_out(root, base_commit))
        site = _site(request, root, say, base_root=base_root)
        if (base_commit, False) == (site.commit, site.is_dirty):
            say("the base is the candidate: every verdict but SAME and AMBIGUOUS would be a false one")
        plans, why_not = _plans(site, request)
        if why_not:
            say(why_not)
        plans, base_grid = joined(plans, told_grid(base_root, site.machine.kind, request.grid.value))
        roots = {BASE: base_root, CANDIDATE: root}
        judging = referee(base_root, root, request.device)
        found = (
            {} if request.times_all or judging.is_witness_changed else _identities(roots, request.device, plans, say)
        )
        counted = _instructions(roots, request.device, plans, found, say) if site.machine.kind == "cpu" else {}
        document = _document(
            site,
            request,
            Mode.LOCKSTEP,
            plans,
            base={"revision": base, "id": base_commit},
            base_grid=asdict(base_grid),
            referee={"remarks": [*judging.remarks, NOT_JUDGED]},
            identity=found,
            instructions=counted,
        )
        place = launch_setup(roots, request.device, site.machine, script=judging.worker)
        judge = partial(judge_by_base, base_root=base_root)
        session = Session(place, document, journal_at=site.journal_at, say=say, judge=judge)
        return _judge_and_write(session, plans, (BASE, CANDIDATE), request)


def gate_against_files(request: GateRequest, *, files: Sequence[Path], say: Say) -> tuple[Document, Path]:
    """Judge the working tree against stored files of this machine; return the document and where it was written.

    Raises: ValueError for a usage that cannot work.
    """
    _check_launches(request.num_launches, MIN_LAUNCHES)
    stored = [read_gate_file(path) for path in _listed(files)]
    root = repository_root(request.start)
    site = _site(request, root, say)
    cases = gate_cases(request.grid, site.machine.kind)
    plans = [replace(plan_for(one), budget=None) for one in cases]
    baselines = {one.name: asdict(stored_baseline(one.name, one.spec, stored, site.machine.facts)) for one in cases}
    document = _document(
        site, request, Mode.STORED, plans, baselines=baselines, baseline_files=[str(path) for path in files]
    )
    place = launch_setup({CANDIDATE: root}, request.device, site.machine)
    session = Session(place, document, journal_at=site.journal_at, say=say)
    return _judge_and_write(session, plans, (CANDIDATE,), request)


def run_self_test(request: GateRequest, *, revision: str, say: Say) -> tuple[Document, Path]:
    """Run two checkouts of one revision against each other; store what that says of this machine.

    Raises: ValueError for a usage that cannot work.
    """
    _check_launches(request.num_launches, 2 * JUDGED_LAUNCHES)
    root = repository_root(request.start)
    commit = commit_of(root, revision)
    with ExitStack() as stack:
        roots = {side: stack.enter_context(checked_out(root, commit)) for side in (BASE, CANDIDATE)}
        site = _site(request, root, say)
        cases = gate_cases(request.grid, site.machine.kind)
        plans = [plan_for(one) for one in cases]
        document = _document(site, request, Mode.SELF_TEST, plans, base={"revision": revision, "id": commit})
        session = Session(
            launch_setup(roots, request.device, site.machine), document, journal_at=site.journal_at, say=say
        )
        launch_cases = _launch_cases(plans, (BASE, CANDIDATE))
        stored = _self_test_path(site, request.grid)
        before = _written_at(stored)
        lost = until_lost(lambda: session.take(launch_cases, num_launches=request.num_launches, look=1))
        is_first = _written_at(stored) == before
        path = request.out or (stored if lost is None and is_first else session.result)
        document = session.finish(path, lost=lost)
        if not is_first:
            say(f"gates go by {stored}, of another self test that ended meanwhile; this one is {path}")
        elif lost is None and path != stored:
            write_json(stored, document)
        return document, path


def _written_at(path: Path) -> int | None:
    """When a file was last written, in nanoseconds; None if there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


def _judge_and_write(
    session: Session, plans: Sequence[CasePlan], sides: Sequence[str], request: GateRequest
) -> tuple[Document, Path]:
    same = same_cases(session.document)
    wanted = [plan for plan in plans if plan.refusal is None and plan.name not in same]
    cases = _launch_cases(wanted, sides)
    patience = Patience(seconds=60 * request.minutes, max_launches=request.num_launches)

    def measure() -> None:
        if session.document["mode"] == Mode.STORED.value:
            take_two_looks(session, cases, wanted, request.num_launches)
        else:
            take_until_decided(session, cases, wanted, patience)

    lost = until_lost(measure)
    path = request.out or session.result
    return session.finish(path, lost=lost), path


def _identities(
    roots: Mapping[str, Path], device: str, plans: Sequence[CasePlan], say: Say
) -> dict[str, dict[str, Any]]:
    say(f"looking at the code of {len(plans)} cases in both revisions")
    found = identities(roots, device, {plan.name: plan.spec for plan in plans})
    say(f"{sum(one.is_same for one in found.values())} of {len(plans)} cases are the same code, and not timed")
    return {name: asdict(one) for name, one in found.items()}


def _instructions(
    roots: Mapping[str, Path],
    device: str,
    plans: Sequence[CasePlan],
    identity: Mapping[str, Mapping[str, Any]],
    say: Say,
) -> dict[str, dict[str, Any]]:
    specs = {plan.name: plan.spec for plan in plans if not identity.get(plan.name, {}).get("is_same")}
    if not specs:
        return {}
    say(f"counting the instructions of {len(specs)} cases in both revisions")
    return {name: asdict(one) for name, one in instructions(roots, device, specs).items()}


def _site(request: GateRequest, root: Path, say: Say, *, base_root: Path | None = None) -> _Site:
    say("measuring this machine's ceilings")
    machine = probe_machine(root, request.device, base_root=base_root)
    commit, is_dirty = source_state(root)
    folder = (request.results_dir or root / RUNS) / str(machine.facts["device_slug"])
    check_writable(folder / "gate")
    for recovered in recover_journals(folder / "gate", complete=complete):
        say(str(recovered))
    stamped = result_path(
        folder, "gate", started=time.time(), commit=commit, is_dirty=is_dirty, grid=request.grid.value
    )
    return _Site(root=root, commit=commit, is_dirty=is_dirty, machine=machine, folder=folder, journal_at=stamped)


def _plans(site: _Site, request: GateRequest) -> tuple[list[CasePlan], str | None]:
    path = _self_test_path(site, request.grid)
    known = read_self_test(path) if path.exists() else None
    cases = gate_cases(request.grid, site.machine.kind)
    return case_plans(cases, known, site.machine.facts, num_launches=JUDGED_LAUNCHES)


def _self_test_path(site: _Site, grid: GateGrid) -> Path:
    return site.folder / "gate" / f"aa-{grid.value}.json"


def _document(site: _Site, request: GateRequest, mode: Mode, plans: Sequence[CasePlan], **facts: Any) -> Document:
    settings: Mapping[str, Any] = {
        "grid": request.grid.value,
        "num_launches": request.num_launches,
        "num_launches_per_look": JUDGED_LAUNCHES if mode is Mode.SELF_TEST else request.num_launches,
        "num_rounds": NUM_ROUNDS,
        **({"rule": RULE, "minutes": request.minutes} if mode is Mode.LOCKSTEP else {}),
    }
    return header(
        mode=mode,
        plans=plans,
        started_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine_info=site.machine.facts,
        ceilings=site.machine.ceilings,
        commit_info={"id": site.commit, "dirty": site.is_dirty},
        settings=settings,
        circumstances=circumstances(),
        **facts,
    )


def _launch_cases(plans: Sequence[CasePlan], sides: Sequence[str]) -> list[LaunchCase]:
    return [LaunchCase(name=plan.name, specs=dict.fromkeys(sides, plan.spec)) for plan in plans]


def _check_launches(num_launches: int, least: int) -> None:
    if num_launches < least:
        raise ValueError(f"--launches must be at least {least}, got {num_launches}")


def _listed(files: Sequence[Path]) -> list[Path]:
    """The files named, and every file of the folders named."""
    return [path for named in files for path in (sorted(named.glob("*.json")) if named.is_dir() else [named])]
