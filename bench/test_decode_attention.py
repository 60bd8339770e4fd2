"""How long does one step of decode attention take here, dense and sparse, and what should it take?

One row per provider, operation, model, batch, context and KV budget. The sparse path is timed whole: scoring and
selecting pages is part of it. Rows of one cell are measured interleaved, so their ratios mean something.
"""

from collections.abc import Callable

import pytest

from kinetics.bench.plugin import able_providers, settings_of
from kinetics.cases.kernels import ATTENTION, Case, cells, kv_budgets
from kinetics.prediction.calibration import Row


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    settings = settings_of(metafunc.config)
    providers = {operation: able_providers(metafunc.config, operation.value) for operation in ATTENTION}
    cases = [
        Case(cell=cell, operation=operation, provider=provider, kv_budget=budget)
        for cell in cells(settings.grid)
        for operation in ATTENTION
        for budget in (kv_budgets(settings.grid) if operation.has_kv_budget else (None,))
        for provider in providers[operation]
        if provider == "ours" or not cell.has_engine_layout
    ]
    metafunc.parametrize("case", cases, ids=str)


@pytest.mark.kernel
def test_decode_attention(case: Case, record_case: Callable[[Case], Row]) -> None:
    record_case(case)
