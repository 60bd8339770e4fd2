"""What is timed is what the operation's name, and so its prediction, says: these kernels, in this order, no others."""

from __future__ import annotations

import pytest

from kinetics.cases.kernels import Case, GridOptions, GridSize, PageOperation, cells
from kinetics.measure.cell_inputs import make_cell_inputs
from kinetics.measure.kernel_workload import prepare
from kinetics_kernels import api

KERNELS = {
    PageOperation.APPEND: ["append_kv"],
    PageOperation.SCORE: ["score_pages"],
    PageOperation.SELECT: ["select_pages"],
    PageOperation.SEARCH: ["append_kv", "score_pages", "select_pages"],
}


@pytest.mark.parametrize("operation", PageOperation)
def test_a_call_runs_the_kernels_that_its_operation_names(operation, monkeypatch):
    options = GridOptions(
        size=GridSize.SMOKE, device_kind="cpu", dtype="float32", models=["Qwen3-0.6B"], batches=[1], context_lens=[203]
    )
    cell, called = cells(options)[0], []
    budget = 96 if operation.has_kv_budget else None
    case = Case(cell=cell, operation=operation, provider="ours", kv_budget=budget)
    prepared = prepare(case, make_cell_inputs(cell, device="cpu", seed=0))
    for name in ("append_kv", "score_pages", "select_pages"):
        original = getattr(api, name)

        def noting(*args, name=name, original=original, **kwargs):
            called.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(api, name, noting)
    prepared.call()
    assert called == KERNELS[operation]
