"""Predictions are the roof plus overhead, and the calibration finds what it was given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.cost.kernels import Work
from kinetics.prediction.calibration import alternate_roles, fit_calibration
from kinetics.prediction.roofline import predict
from kinetics.specs.ceilings import Ceilings

CEILINGS = Ceilings(
    read_bytes_per_s=100.0,
    cached_read_bytes_per_s=1000.0,
    copy_bytes_per_s=50.0,
    matmul_flop_per_s=1000.0,
    launch_s=0.5,
    cache_bytes=400,
)


def test_the_scarcest_resource_sets_the_time():
    memory_bound = predict(Work(flop=100, num_bytes=1000), CEILINGS, num_launches=2)
    compute_bound = predict(Work(flop=50_000, num_bytes=1000), CEILINGS, num_launches=2)
    assert (memory_bound.total_s, memory_bound.bound_by) == (1.0 + 10.0, "memory")
    assert (compute_bound.total_s, compute_bound.bound_by) == (1.0 + 50.0, "compute")


def test_tiny_work_is_bound_by_its_launches():
    assert predict(Work(flop=1, num_bytes=1), CEILINGS, num_launches=1).bound_by == "launch"


@pytest.mark.parametrize(
    ("num_bytes", "is_warm", "rate"), [(200, True, 1000.0), (201, True, 100.0), (200, False, 100.0)]
)
def test_only_warm_data_that_fits_gets_the_cache_roof(num_bytes, is_warm, rate):
    assert CEILINGS.bytes_per_s(num_bytes, is_warm=is_warm) == rate


@given(
    overhead_s=st.floats(1e-6, 1e-3),
    efficiency=st.floats(0.1, 1.0),
    roofs=st.lists(st.floats(1e-5, 1e-1), min_size=3, max_size=10, unique_by=lambda x: round(x, 5)),
)
def test_a_calibration_recovers_the_two_numbers_that_made_the_times(overhead_s, efficiency, roofs):
    measured = [overhead_s + roof / efficiency for roof in roofs]
    fitted = fit_calibration(roofs, measured)
    for roof, expected in zip(roofs, measured, strict=True):
        assert fitted.total_s(roof) == pytest.approx(expected, rel=2e-2)


def test_one_wild_case_does_not_bend_the_calibration():
    roofs = [float(n) for n in range(1, 10)]
    measured = [1.0 + 2.0 * roof for roof in roofs]
    measured[4] *= 3.0
    fitted = fit_calibration(roofs, measured)
    assert fitted.total_s(9.0) == pytest.approx(19.0, rel=0.1)


def test_one_case_is_no_calibration():
    with pytest.raises(ValueError, match="at least 2 cases, got 1"):
        fit_calibration([1.0], [2.0])


@given(st.integers(1, 30))
def test_every_other_shape_judges_and_no_measured_time_decides_which(num_shapes):
    roles = alternate_roles([1.1**i for i in reversed(range(num_shapes))])
    assert roles.count("fit") - roles.count("held_out") in (0, 1)
    assert roles[-1] == "fit"


def test_twins_of_one_shape_share_a_role():
    assert alternate_roles([1.0, 2.0, 1.02, 2.05, 3.0]) == ["fit", "held_out", "fit", "held_out", "fit"]
