"""How long does one step of decode attention take here, dense and sparse, and what should it take?

One row per provider, operation, model, batch, context and KV budget. The sparse path is timed whole: scoring and
selecting pages is part of it. Rows of one cell are measured interleaved, so their ratios mean something.
"""

from collections.abc import Callable

import pytest

from kinetics.bench.plugin import able_providers, settings_of
from kinetics.cases.grids import attention_cases
from kinetics.cases.kernels import ATTENTION, Case
from kinetics.prediction.calibration import Row


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    settings = settings_of(metafunc.config)
    providers = {operation.value: able_providers(metafunc.config, operation.value) for operation in ATTENTION}
    cases = attention_cases(settings.grid, providers)
    metafunc.parametrize("case", cases, ids=str)


@pytest.mark.kernel
def test_decode_attention(case: Case, record_case: Callable[[Case], Row]) -> None:
    record_case(case)
