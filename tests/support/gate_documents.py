"""Whole files of the gate, small, as each of its runs writes them."""

from __future__ import annotations

from typing import Any

from kinetics.gate.cases import GateGrid, gate_cases
from kinetics.gate.evidence import BASE, CANDIDATE, CaseRun
from kinetics.gate.gate_file import Mode, complete, header
from kinetics.gate.self_test import plan_for

CASES = gate_cases(GateGrid.SMOKE, "cpu")[:1]
MACHINE = {"device": "a device", "device_kind": "cpu", "device_slug": "cpu-a", "num_cpus": 2, "torch_threads": 2}
CEILINGS = {
    "read_bytes_per_s": 1e11, "cached_read_bytes_per_s": 2e11, "copy_bytes_per_s": 1e11, "matmul_flop_per_s": 1e12,
    "launch_s": 1e-5, "cache_bytes": 2**25,
}  # fmt: skip


def launch(number: int, *, mode: Mode) -> dict[str, Any]:
    """One launch of the one case, as a session writes it."""
    sides = [CANDIDATE] if mode is Mode.STORED else [BASE, CANDIDATE]
    shift = 1e-3 * (number % 3 - 1)
    return CaseRun(
        case=CASES[0].name,
        look=1,
        launch=number,
        first_side=sides[0],
        median_s=dict.fromkeys(sides, 1e-3 * (1.0 + shift)),
        canary_bytes_per_s=dict.fromkeys(sides, 1e10),
        log_ratios={} if mode is Mode.STORED else {CANDIDATE: shift},
        max_abs_error=dict.fromkeys(sides, 1e-7),
        work={"num_bytes": 10**6, "flop": 10**6, "num_launches": 1},
        others_cpu_share=0.0,
        block_log_ratios={} if mode is Mode.STORED else {CANDIDATE: [shift] * 3},
    ).as_row()


def document(mode: Mode) -> dict[str, Any]:
    """A whole file of one run, with everything that a run of this mode writes."""
    more: dict[Mode, dict[str, Any]] = {
        Mode.LOCKSTEP: {
            "base": {"revision": "HEAD", "id": "0" * 40},
            "base_grid": {"only_base": ["gone"], "own_budgets": {CASES[0].name: 0.1}, "untold": None},
            "referee": {"remarks": ["Timed by the candidate's stopwatch"], "own_verdicts": {CASES[0].name: "SLOW"}},
            "identity": {CASES[0].name: {"is_same": False, "differing": ["python x"], "reason": None}},
            "instructions": {CASES[0].name: {"base": {"k": 100}, "candidate": {"k": 100}, "reason": None}},
        },
        Mode.STORED: {
            "baselines": {CASES[0].name: {"log_values": [16.0] * 8, "incomparable": None}},
            "baseline_files": ["old.json"],
        },
        Mode.SELF_TEST: {"base": {"revision": "HEAD", "id": "0" * 40}},
    }
    return header(
        mode=mode,
        plans=[plan_for(case) for case in CASES],
        started_utc="2026-01-31T12:00:00Z",
        machine_info=MACHINE,
        ceilings=dict(CEILINGS),
        commit_info={"id": "1" * 40, "dirty": False},
        settings={"grid": "smoke", "num_launches": 5, "num_launches_per_look": 5, "num_rounds": 24, "minutes": 10.0},
        circumstances={"cpus": [0, 1], "nice": 0, "governor": None, "clock_hz": 1e9, "load": 0.1},
        wall_s=1.0,
        lost=None,
        **more[mode],
    )


def finished(mode: Mode) -> dict[str, Any]:
    """The document with ten launches, judged."""
    made = document(mode) | {"runs": [launch(number, mode=mode) for number in range(10)]}
    complete(made)
    return made
