"""A worker makes the very case that the gate describes, a kernel or a whole decode step, proves it and times it."""

from __future__ import annotations

import subprocess
import tarfile
from dataclasses import asdict

import pytest
import torch

from kinetics.cases.kernel_work import work_of
from kinetics.cases.steps import StepCase
from kinetics.cost.steps import step_parts
from kinetics.gate import worker
from kinetics.gate.cases import MAX_CASES, GateGrid, gate_cases
from kinetics.gate.process import CaseRefused, WorkerProcess
from kinetics.measure import prepared_case
from tests.support.fake_checkout import make_repository
from tests.support.paths import ROOT

GRIDS = [(grid, kind) for grid in GateGrid for kind in ("cpu", "cuda")]


@pytest.mark.parametrize(("grid", "kind"), GRIDS)
def test_every_case_of_the_gate_grid_is_its_own(grid, kind):
    cases = gate_cases(grid, kind)
    assert len({case.name for case in cases}) == len(cases) <= MAX_CASES


@pytest.mark.parametrize("case", gate_cases(GateGrid.SMOKE, "cpu"), ids=lambda case: case.name)
def test_a_worker_sees_the_work_of_the_case_it_is_told(case):
    if isinstance(case.case, StepCase):
        parts = step_parts(case.case.shape).values()
        expected = {"num_bytes": sum(p.num_bytes for p in parts), "flop": sum(p.flop for p in parts)}
    else:
        expected = asdict(work_of(case.case))
    with torch.inference_mode():
        work = prepared_case.prepare(case.spec, "cpu", 1).work
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
    from kinetics.engine import decoder as qwen3

    (step,) = (case for case in gate_cases(GateGrid.GATE, "cpu") if isinstance(case.case, StepCase))
    small = step.spec | {"num_layers": 1, "batch": 1, "context_len": 300, "kv_budget": 128}
    decode = qwen3.Decoder.decode
    monkeypatch.setattr(qwen3.Decoder, "decode", lambda *arguments: 1.01 * decode(*arguments))
    with torch.inference_mode(), pytest.raises(AssertionError, match="logits"):
        worker.Worker(ROOT, "cpu").prepare(small, seed=1)


SPEC = {
    "operation": "block_topk", "provider": "ours", "model": "Qwen3-0.6B", "batch": 1, "context_len": 300,
    "kv_budget": 128, "page_size": 16, "device_kind": "cpu", "dtype": "float32",
}  # fmt: skip
STEP_SPEC = {
    "operation": "step", "policy": "block_topk", "num_layers": 1, "model": "Qwen3-0.6B", "batch": 1,
    "context_len": 300, "kv_budget": 128, "page_size": 16, "device_kind": "cpu", "dtype": "float32",
}  # fmt: skip
LAST_BEFORE_DOOR = "08ac14c"
"""The last commit without `kinetics.measure.prepared_case`."""


@pytest.fixture(scope="module")
def old_checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    archive = folder / "old.tar"
    made = subprocess.run(["git", "archive", "-o", str(archive), LAST_BEFORE_DOOR, "kinetics", "kernels"], cwd=ROOT)
    if made.returncode:
        pytest.skip(f"commit {LAST_BEFORE_DOOR} is not in this clone's history; git fetch --unshallow")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPEC, STEP_SPEC], ids=["kernel", "step"])
def test_a_revision_from_before_the_door_is_still_judged(old_checkout, spec):
    with WorkerProcess("base", old_checkout, "cpu") as old, WorkerProcess("candidate", ROOT, "cpu") as new:
        replies = []
        for one in (old, new):
            one.begin_prepare(spec, seed=1)
            replies.append(one.end_prepare())
            assert one.run_once().seconds > 0
        facts = [one.facts() for one in (old, new)]
    work = [{name: reply[name] for name in ("num_bytes", "flop", "num_launches")} for reply in replies]
    assert work[0] == work[1]
    assert facts[0]["device"] == facts[1]["device"]


def test_a_door_of_an_unknown_version_is_refused_in_one_line(tmp_path):
    root = make_repository(tmp_path / "suite", version=99)
    with WorkerProcess("base", root, "cpu") as one, pytest.raises(CaseRefused, match=r"VERSION must be .* got 99"):
        one.facts()


def test_a_revision_without_door_or_adapter_is_refused_as_too_old(tmp_path):
    root = make_repository(tmp_path / "suite")
    (root / "kinetics" / "measure" / "prepared_case.py").unlink()
    with (
        WorkerProcess("base", root, "cpu") as one,
        pytest.raises(CaseRefused, match="got neither it nor what came before it"),
    ):
        one.facts()
