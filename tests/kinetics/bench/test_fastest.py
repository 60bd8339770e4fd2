"""The fastest ceilings outlive a run, and a file that is broken counts for nothing."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kinetics.bench import machine as bench_machine
from kinetics.bench.fastest import FastestCeilings
from kinetics.bench.machine import BenchMachine
from kinetics.machine.device import resolve_device
from kinetics.specs.ceilings import Ceilings

CEILINGS = Ceilings(
    read_bytes_per_s=2e10, cached_read_bytes_per_s=9e10, copy_bytes_per_s=1e10, matmul_flop_per_s=1e11, launch_s=2e-6,
    cache_bytes=2**25,
)  # fmt: skip
FASTER = replace(CEILINGS, read_bytes_per_s=3e10, launch_s=1e-6, copy_bytes_per_s=5e9)


def test_a_full_disk_costs_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert FastestCeilings(tmp_path).learn(CEILINGS) == CEILINGS
    assert not list(tmp_path.iterdir())


def test_the_best_of_all_runs_is_kept(tmp_path: Path) -> None:
    assert FastestCeilings(tmp_path).learn(CEILINGS) == CEILINGS
    best = replace(CEILINGS, read_bytes_per_s=3e10, launch_s=1e-6)
    assert FastestCeilings(tmp_path).learn(FASTER) == best
    assert FastestCeilings(tmp_path).learn(CEILINGS) == best


@pytest.mark.parametrize("text", ["", "[]", "{", '{"read_bytes_per_s": 1e30}', '{"read_bytes_per_s": "fast"}'])
def test_a_broken_memory_is_forgotten(tmp_path: Path, text: str) -> None:
    (tmp_path / ".fastest_ceilings").write_text(text)
    assert FastestCeilings(tmp_path).learn(CEILINGS) == CEILINGS


def test_its_file_is_no_result_file(tmp_path: Path) -> None:
    FastestCeilings(tmp_path).learn(CEILINGS)
    assert list(tmp_path.glob("*.json")) == []


def test_ceilings_are_measured_again_before_a_row_is_called_impossible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [CEILINGS, FASTER, FASTER]
    monkeypatch.setattr(
        BenchMachine, "_probe", lambda self: SimpleNamespace(ceilings=answers.pop(0), as_dict=lambda: asdict(CEILINGS))
    )
    machine = BenchMachine(resolve_device("cpu"), dtype="float32", folder=tmp_path)
    row: Any = SimpleNamespace(samples_s=[1e-3], distinct_bytes=25 * 10**6, is_warm=False)
    assert machine.why_impossible(row) is None
    assert len(answers) == 1
    impossible: Any = SimpleNamespace(samples_s=[1e-3], distinct_bytes=40 * 10**6, is_warm=False)
    assert "not all of the work was done" in (machine.why_impossible(impossible) or "")
    assert bench_machine.__doc__
