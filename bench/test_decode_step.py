"""How long does one whole decode step of a model take here, how much of it is attention, and what should it take?

Embedding, every layer, logits and the choice of a token, with dense attention and with block top-k over a paged cache,
beside the same step without attention. Weights are random. Models too large to hold are measured as one and two
layers with the whole head, and extrapolated; a model measured both ways says how well that works.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kinetics.bench.plugin import settings_of, step_dtype_of
from kinetics.cases.steps import StepCase, step_cases
from kinetics.prediction.calibration import Row


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    settings = settings_of(metafunc.config)
    is_wanted = not settings.providers or "ours" in settings.providers
    dtype = metafunc.config.option.dtype and settings.grid.dtype
    grid = replace(settings.grid, dtype=dtype or step_dtype_of(metafunc.config))
    cases = step_cases(grid) if is_wanted else []
    metafunc.parametrize("case", cases, ids=str)


@pytest.mark.step
def test_decode_step(case: StepCase, record_case: Callable[[StepCase], Row]) -> None:
    row = record_case(case)
    assert 0.0 <= row["required_bytes"] <= row["available_bytes"]
