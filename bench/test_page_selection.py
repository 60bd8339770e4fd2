"""What does finding the pages cost: appending a token, scoring pages, selecting them, each alone and all together?

The answer bounds what a faster sparse kernel can still win. Only our own kernels are measured here; the whole sparse
path beside its peers is in test_decode_attention.py.
"""

from collections.abc import Callable

import pytest

from kinetics.bench.plugin import settings_of
from kinetics.cases.grids import selection_cases
from kinetics.cases.kernels import Case
from kinetics.prediction.calibration import Row


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    settings = settings_of(metafunc.config)
    is_wanted = not settings.providers or "ours" in settings.providers
    cases = selection_cases(settings.grid) if is_wanted else []
    metafunc.parametrize("case", cases, ids=str)


@pytest.mark.kernel
def test_page_selection(case: Case, record_case: Callable[[Case], Row]) -> None:
    record_case(case)
