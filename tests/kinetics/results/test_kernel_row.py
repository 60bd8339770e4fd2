"""Rows carry every field of a result file, and calibration judges itself on rows it has not seen."""

from dataclasses import replace

import pytest

from kinetics.cases.kernels import Case, GridOptions, GridSize, cells
from kinetics.cost.kernels import Work
from kinetics.prediction.calibration import calibrate, calibration_errors
from kinetics.results.field import Rows
from kinetics.results.fields import check_fields, fields_of
from kinetics.results.kernel_row import Measured, measured_row
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.policies import PolicyKind
from tests.support.result_rows import CIRCUMSTANCES

CEILINGS = Ceilings(
    read_bytes_per_s=1e9,
    cached_read_bytes_per_s=4e9,
    copy_bytes_per_s=1e9,
    matmul_flop_per_s=1e9,
    launch_s=1e-6,
    cache_bytes=2**20,
)


def measured(samples_s=(3e-3, 1e-3, 2e-3)):
    options = GridOptions(size=GridSize.SMOKE, device_kind="cpu", dtype="float32")
    case = Case(cell=cells(options)[0], operation=PolicyKind.DENSE, provider="ours", kv_budget=None)
    return Measured(
        case=case,
        work=Work(flop=10, num_bytes=10**6),
        num_launches=2,
        provider_version="1",
        samples_s=samples_s,
        max_abs_error=1e-7,
        canary_bytes_per_s=None,
    )


def test_a_row_carries_the_declared_fields_and_no_others():
    row = measured_row(replace(measured(), circumstances=CIRCUMSTANCES), CEILINGS)
    assert set(row) == set(fields_of(Rows.KERNEL))
    check_fields(row)


def test_a_row_is_made_of_the_median():
    row = measured_row(measured(), CEILINGS)
    assert row["median_s"] == 2e-3
    assert row["predicted_s"] == pytest.approx(1e-3 + 2e-6)
    assert row["achieved_bytes_per_s"] == pytest.approx(5e8)
    assert row["fraction_of_ceiling"] == pytest.approx(0.5)


def test_joules_of_a_call_are_shared_by_its_requests():
    one = measured()
    metered = measured_row(replace(one, joules_per_call=6.0), CEILINGS)
    assert metered["joules_per_token"] == 6.0 / one.case.cell.batch
    assert measured_row(one, CEILINGS)["joules_per_token"] is None


def calibrated_rows(times):
    rows = [
        {"provider": "ours", "operation": "dense", "predicted_s": roof, "predicted_roof_s": roof, "median_s": time_s}
        for roof, time_s in times
    ]
    return rows, calibrate(rows)


def test_held_out_rows_take_no_part_in_the_fit():
    line = [(roof, 1.0 + 2.0 * roof) for roof in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    bent = [(roof, time_s * (10.0 if i % 2 else 1.0)) for i, (roof, time_s) in enumerate(line)]
    straight_rows, straight = calibrated_rows(line)
    bent_rows, bent_fit = calibrated_rows(bent)
    assert bent_fit == straight
    assert max(calibration_errors(straight_rows, "held_out")) < 0.01
    assert min(calibration_errors(bent_rows, "held_out")) > 0.8


def test_too_few_rows_have_a_role_but_no_calibrated_time():
    rows, fits = calibrated_rows([(1.0, 2.0), (2.0, 3.0)])
    assert fits == {}
    assert [row["calibration_role"] for row in rows] == ["fit", "held_out"]
    assert "calibrated_s" not in rows[0]


def test_twins_of_one_shape_are_not_fitted():
    rows, fits = calibrated_rows([(1.0, 2.0), (1.01, 2.2), (5.0, 9.0)])
    assert fits == {}
    assert [row["calibration_role"] for row in rows] == ["fit", "fit", "held_out"]


def test_rows_without_a_prediction_are_left_alone():
    rows = [{"table": "claims"}]
    assert calibrate(rows) == {}
    assert rows == [{"table": "claims"}]


def test_the_fit_sees_the_bandwidth_of_the_moment():
    rows = [
        {
            "provider": "ours", "operation": "dense", "predicted_s": roof, "predicted_roof_s": roof,
            "median_s": 2.0 + 3.0 * roof * slow, "ceiling_bytes_per_s": 10.0, "canary_bytes_per_s": 10.0 / slow,
        }
        for roof, slow in ((1.0, 1), (2.0, 1), (3.0, 2), (4.0, 2), (5.0, 1), (6.0, 2))
    ]  # fmt: skip
    fit = calibrate(rows)["ours/dense"]
    assert fit.as_dict() == {"overhead_s": pytest.approx(2.0, rel=1e-3), "efficiency": pytest.approx(1 / 3, rel=1e-3)}
    assert max(calibration_errors(rows, "held_out")) < 1e-3


def test_graph_eager_warm_and_either_layout_are_fitted_apart():
    conditions = [
        ({"graph": True}, "_graph"), ({"graph": False}, ""), ({"graph": True, "cache_state": "warm"}, "_graph_warm"),
        ({"graph": True, "kv_layout": "hnd"}, "_graph_hnd"), ({"graph": False, "cache_state": "warm"}, "_warm"),
    ]  # fmt: skip
    overheads = {suffix: 1.0 + number for number, (_, suffix) in enumerate(conditions)}
    rows = [
        {
            "provider": "ours", "operation": "dense", "predicted_s": roof, "predicted_roof_s": roof,
            "median_s": overheads[suffix] + roof, "kv_layout": "nhd", "cache_state": "cold", **fields,
        }
        for fields, suffix in conditions
        for roof in (1.0, 2.0, 4.0, 8.0)
    ]  # fmt: skip
    fits = calibrate(rows)
    assert {name.removeprefix("ours/dense"): round(fit.overhead_s, 2) for name, fit in fits.items()} == overheads


def test_on_a_cpu_heads_first_is_the_usual_layout():
    rows = [
        {
            "provider": "ours", "operation": "dense", "predicted_s": roof, "predicted_roof_s": roof,
            "median_s": roof, "kv_layout": "hnd", "cache_state": "cold", "graph": False,
        }
        for roof in (1.0, 2.0, 4.0, 8.0)
    ]  # fmt: skip
    assert list(calibrate(rows)) == ["ours/dense"]


def test_bandwidth_does_not_matter_to_a_row_that_computes():
    rows = [
        {
            "provider": "ours", "operation": "dense", "predicted_s": roof, "predicted_roof_s": roof,
            "median_s": 2.0 * roof, "ceiling_bytes_per_s": 10.0, "canary_bytes_per_s": canary,
            "predicted_bound": "compute",
        }
        for roof, canary in ((1, 5.0), (2, 10.0), (3, 7.0), (4, 3.0))
    ]  # fmt: skip
    calibrate(rows)
    assert max(calibration_errors(rows, "held_out")) < 0.02
