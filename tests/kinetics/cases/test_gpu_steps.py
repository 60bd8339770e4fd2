"""The decode steps of a GPU's default grid fit a card of 80 GB."""

from kinetics.cases.kernels import GridOptions, GridSize
from kinetics.cases.steps import step_cases
from kinetics.cost.steps import step_memory
from kinetics.specs.units import GIBI

FREE_BYTES = 78.5 * GIBI
SHARE = 0.9


def test_every_step_of_the_default_gpu_grid_fits_eighty_gigabytes():
    cases = step_cases(GridOptions(size=GridSize.QUICK, device_kind="cuda", dtype="bfloat16"))
    assert cases
    for case in cases:
        assert step_memory(case.shape).num_bytes <= SHARE * FREE_BYTES, f"{case}: {step_memory(case.shape)}"
