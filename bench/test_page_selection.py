"""What does finding the pages cost: appending a token, scoring pages, selecting them, each alone and all together?

The answer bounds what a faster sparse kernel can still win. Only our own kernels are measured here; the whole sparse
path beside its peers is in test_decode_attention.py.
"""

from collections.abc import Callable

import pytest

from kinetics.bench.plugin import settings_of
from kinetics.cases.kernels import Case, PageOperation, cells, is_narrowed, kv_budgets
from kinetics.prediction.calibration import Row

_NUM_CELLS = 4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    settings = settings_of(metafunc.config)
    num_cells = None if is_narrowed(settings.grid) else _NUM_CELLS
    cases = [
        Case(cell=cell, operation=operation, provider="ours", kv_budget=budget)
        for cell in cells(settings.grid)[:num_cells]
        for operation in PageOperation
        for budget in (kv_budgets(settings.grid)[:1] if operation.has_kv_budget else (None,))
        if not settings.providers or "ours" in settings.providers
    ]
    metafunc.parametrize("case", cases, ids=str)


@pytest.mark.kernel
def test_page_selection(case: Case, record_case: Callable[[Case], Row]) -> None:
    record_case(case)
