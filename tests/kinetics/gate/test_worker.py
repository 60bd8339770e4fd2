"""A worker makes the very case that the gate describes, a kernel or a whole decode step, proves it and times it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from kinetics import workloads
from kinetics.gate import worker
from kinetics.gate.cases import MAX_CASES, GateCase, GateGrid, gate_cases
from kinetics.steps.cost import step_parts
from kinetics.steps.grid import StepCase

ROOT = Path(__file__).resolve().parents[3]
GRIDS = [(grid, kind) for grid in GateGrid for kind in ("cpu", "cuda")]


def job_of(case: GateCase):
    return worker._step_job(case.spec) if isinstance(case.case, StepCase) else worker._kernel_job(case.spec)


@pytest.mark.parametrize(("grid", "kind"), GRIDS)
def test_a_worker_sees_the_work_of_every_case(grid, kind):
    cases = gate_cases(grid, kind)
    assert len({case.name for case in cases}) == len(cases) <= MAX_CASES
    for case in cases:
        if isinstance(case.case, StepCase):
            parts = step_parts(case.case.shape).values()
            expected = {"num_bytes": sum(p.num_bytes for p in parts), "flop": sum(p.flop for p in parts)}
        else:
            expected = asdict(workloads.work_of(case.case))
        work = job_of(case).work
        assert {name: work[name] for name in expected} == expected
        assert work["num_launches"] > 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "lost"),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), "lost"),
        (torch.OutOfMemoryError("no memory"), "lost"),
        (RuntimeError("Triton Error [CUDA]: device kernel image is invalid"), "unable"),
        (AssertionError("off by 0.5"), "wrong"),
        (ValueError("no such kernel"), "unable"),
    ],
)
def test_a_lost_device_is_told_from_a_case_that_cannot_run(error, kind):
    assert worker._refusal(error)["refused"] == kind


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_gate_grid_holds_a_whole_step(kind):
    assert any(isinstance(case.case, StepCase) for case in gate_cases(GateGrid.GATE, kind))


def test_a_step_is_made_proved_and_timed():
    (step,) = (case for case in gate_cases(GateGrid.GATE, "cpu") if isinstance(case.case, StepCase))
    small = step.spec | {"num_layers": 1, "batch": 1, "context_len": 300, "kv_budget": 128}
    one = worker.Worker(ROOT, "cpu")
    with torch.inference_mode():
        reply = one.prepare(small, seed=1)
        assert 0 < reply["max_abs_error"] < 1e-2
        assert one.run()["seconds"] > 0
        one.release()
        with pytest.raises(ValueError, match="run must follow a prepare"):
            one.run()


def test_a_step_that_computes_something_else_is_refused(monkeypatch):
    from kinetics.engine import qwen3

    (step,) = (case for case in gate_cases(GateGrid.GATE, "cpu") if isinstance(case.case, StepCase))
    small = step.spec | {"num_layers": 1, "batch": 1, "context_len": 300, "kv_budget": 128}
    decode = qwen3.Decoder.decode
    monkeypatch.setattr(qwen3.Decoder, "decode", lambda *arguments: 1.01 * decode(*arguments))
    with torch.inference_mode(), pytest.raises(AssertionError, match="logits"):
        worker.Worker(ROOT, "cpu").prepare(small, seed=1)
