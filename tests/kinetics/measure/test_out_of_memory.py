"""A provider that runs out of memory is left out with its reason, and the others of its cell are measured."""

from __future__ import annotations

import pytest
import torch

from kinetics.cases.kernels import Case, GridOptions, GridSize, cells
from kinetics.machine.conditions import session_conditions
from kinetics.machine.device import resolve_device
from kinetics.measure import kernel_runner
from kinetics.measure.kernel_runner import CellRunner
from kinetics.results.kernel_row import Measured
from kinetics.specs.policies import PolicyKind
from kinetics_kernels.peer_kinds import contiguous
from kinetics_kernels.peer_kinds.contiguous import contiguous_cache
from kinetics_kernels.peers import torch_sdpa
from kinetics_kernels.providers import PreparedDecode
from kinetics_kernels.shapes import DecodeShape
from kinetics_kernels.testing import make_inputs
from kinetics_kernels.unavailable import Unavailable

CELL = cells(
    GridOptions(
        size=GridSize.QUICK, device_kind="cpu", dtype="float32", models=["Qwen3-0.6B"], batches=[1], context_lens=[256]
    )
)[0]
OURS, THEIRS = (
    Case(cell=CELL, operation=PolicyKind.DENSE, provider=name, kv_budget=None) for name in ("ours", "torch_sdpa")
)


def run():
    return CellRunner(resolve_device("cpu"), session_conditions()).run(CELL, [OURS, THEIRS])


@pytest.mark.parametrize("when", ["prepare", "call"])
def test_one_that_runs_out_of_memory_leaves_the_others(monkeypatch, when):
    def fail(*arguments):
        raise torch.OutOfMemoryError("tried to allocate 90 GiB")

    if when == "prepare":
        monkeypatch.setattr(torch_sdpa.TorchSdpa, "prepare", fail)
    else:
        monkeypatch.setattr(torch_sdpa.TorchSdpa, "prepare", lambda self, request: PreparedDecode(run=fail))
    outcomes = run()
    assert isinstance(outcomes[OURS], Measured)
    assert isinstance(outcomes[THEIRS], Unavailable)
    assert str(outcomes[THEIRS]).startswith("torch_sdpa: out of memory")


def test_a_peer_that_has_no_room_beside_ours_is_dropped_with_the_arithmetic(monkeypatch):
    ours_bytes = 300 * 2**20
    monkeypatch.setattr(kernel_runner, "available_bytes", lambda device: ours_bytes)
    monkeypatch.setattr(torch_sdpa.TorchSdpa, "reads_contiguous_copy", False)
    monkeypatch.setattr(torch_sdpa.TorchSdpa, "prepared_bytes", lambda self, case: 400 * 2**20)
    outcomes = run()
    assert isinstance(outcomes[OURS], Measured)
    assert "torch_sdpa: no room for its 0.4 GiB beside our kernels, 0.3 GiB free x 0.90" in str(outcomes[THEIRS])


def test_readers_of_the_same_inputs_share_one_copy_that_follows_the_values():
    shape = DecodeShape(batch=2, context_len=40, num_q_heads=4, num_kv_heads=2, head_dim=64, page_size=16)
    inputs, others = (make_inputs(shape, dtype=torch.float32, device="cpu", seed=seed) for seed in (1, 2))
    one = contiguous_cache(inputs, reader="one")
    inputs.k_cache.nan_to_num_().add_(1.0)
    two = contiguous_cache(inputs, reader="two")
    assert [tensor.data_ptr() for tensor in one] == [tensor.data_ptr() for tensor in two]
    page = inputs.block_table[0, 0]
    assert torch.equal(two[0][0, :, :16], inputs.k_cache[page].transpose(0, 1))
    assert contiguous_cache(others, reader="one")[0].data_ptr() != one[0].data_ptr()
    before = len(contiguous._COPIES)
    del others
    assert len(contiguous._COPIES) == before - 1
