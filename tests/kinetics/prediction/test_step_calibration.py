"""Steps are calibrated part by part, at the bandwidth of the moment, and judged on steps the fit has not seen."""

from __future__ import annotations

import pytest

from kinetics.prediction.calibration import calibrate, calibration_errors
from kinetics.prediction.step_calibration import calibrate_steps, step_features

CEILING = 1e10
WEIGHTS, ATTENTION, LAUNCH_S = 1.2, {"step_dense": 2.0, "step_block_topk": 3.0}, 1e-5


def step(operation, *, weights_s, attention_s, launches, canary=CEILING, time_s=None, **changes):
    """A row whose time follows the law exactly unless it is given."""
    slow = CEILING / canary
    lawful_s = LAUNCH_S * launches + slow * (WEIGHTS * weights_s + ATTENTION[operation] * attention_s)
    return {
        "provider": "engine", "operation": operation, "graph": False, "num_launches": launches,
        "predicted_part_s": {"weights": 0.9 * weights_s, "activations": 0.1 * weights_s, "attention": attention_s},
        "predicted_roof_s": weights_s + attention_s, "predicted_s": weights_s + attention_s,
        "canary_bytes_per_s": canary, "ceiling_bytes_per_s": CEILING, "median_s": time_s or lawful_s,
        "calibrated_s": None,
    } | changes  # fmt: skip


SIZES = [(0.10, 0.001, 20), (0.11, 0.05, 40), (0.20, 0.02, 300), (0.30, 0.30, 300), (0.9, 0.04, 90), (1.5, 0.8, 300)]


def steps(**changes):
    return [
        step(operation, weights_s=w, attention_s=a * (1.0 if operation == "step_dense" else 0.3), launches=n, **changes)
        for operation in ATTENTION
        for w, a, n in SIZES
    ]


def test_lawful_steps_are_found_exactly():
    rows = steps()
    found = calibrate_steps(rows)["engine/step"]
    assert found.launch_s == pytest.approx(LAUNCH_S, rel=1e-3)
    assert found.slowdown["weights"] == pytest.approx(WEIGHTS, rel=1e-3)
    assert found.slowdown["attention of step_block_topk"] == pytest.approx(3.0, rel=1e-3)
    assert max(calibration_errors(rows, "held_out")) < 1e-3


def test_bandwidth_that_neighbours_take_is_no_error():
    rows = [*steps()[:6], *steps(canary=CEILING / 2)[6:]]
    calibrate_steps(rows)
    assert max(calibration_errors(rows, "held_out")) < 1e-3


def test_held_out_steps_take_no_part_in_the_fit():
    straight, bent = steps(), steps()
    calibrate_steps(straight)
    for row, twin in zip(bent, straight, strict=True):
        row["median_s"] *= 10.0 if twin["calibration_role"] == "held_out" else 1.0
    assert calibrate_steps(bent)["engine/step"] == calibrate_steps(straight)["engine/step"]
    assert min(calibration_errors(bent, "held_out")) > 0.5


def test_steps_that_cannot_tell_their_parts_apart_stay_uncalibrated():
    rows = [step("step_dense", weights_s=w, attention_s=w, launches=10) for w in (0.1, 0.2, 0.3, 0.4)]
    assert calibrate_steps(rows) == {}
    assert all(row["calibrated_s"] is None and row["calibration_role"] for row in rows)


def test_eager_and_graph_are_fitted_apart():
    rows = [*steps(), *steps(graph=True)]
    assert calibrate_steps(rows).keys() == {"engine/step", "engine/step_graph"}


def test_kernels_and_steps_are_left_to_their_own_fit():
    rows = steps()
    assert calibrate(rows) == {}
    assert all(row["calibrated_s"] is None for row in rows)
    kernels = [{"provider": "ours", "operation": "dense", "predicted_roof_s": 1.0, "predicted_s": 1.0}]
    assert calibrate_steps(kernels) == {}


def test_features_hold_all_roofs():
    row = step("step_dense", weights_s=0.2, attention_s=0.1, launches=7, canary=CEILING / 2)
    assert step_features(row) == {
        "launch": 7.0,
        "weights": pytest.approx(0.4),
        "attention of step_dense": pytest.approx(0.2),
    }
