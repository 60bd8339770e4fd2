"""Costs in measured seconds, counted by hand from a made result file."""

import json

import pytest

from kinetics.files.lines import DataFileError
from kinetics.law.measured_costs import read_measured_device
from kinetics.specs.models import find_model
from kinetics.specs.policies import Dense, TopK

BANDWIDTH, RATE, BATCH = 2e11, 5e13, 8
MODEL = find_model("Qwen3-8B")


def write_result(path, *, operations=("dense", "block_topk"), **machine):
    rows = [
        {
            "extra_info": {
                "operation": operation,
                "provider": "ours",
                "cache_state": "cold",
                "dtype": "bfloat16",
                "batch": BATCH,
                "minimum_bytes": num_bytes,
                "median_s": overhead_s + num_bytes / (efficiency * BANDWIDTH),
            }
        }
        for operation in operations
        for overhead_s, efficiency in [{"dense": (2e-5, 0.5), "block_topk": (4e-5, 0.25)}[operation]]
        for num_bytes in (10**6, 10**7, 10**8, 10**9)
    ]
    facts = {"device": "made", "ceilings": {"read_bytes_per_s": BANDWIDTH, "matmul_flop_per_s": RATE}} | machine
    path.write_text(json.dumps({"schema": 1, "machine_info": facts, "benchmarks": rows}))
    return path


@pytest.mark.parametrize(
    ("policy", "own_keys", "shared_keys", "overhead_s", "efficiency"),
    [(Dense(), sum(range(1, 1001)), 1000 * 500, 2e-5, 0.5), (TopK(kv_budget=64), 1000 * 64, 0, 4e-5, 0.25)],
)
def test_seconds_add_up_by_hand(tmp_path, policy, own_keys, shared_keys, overhead_s, efficiency):
    device = read_measured_device(write_result(tmp_path / "r.json"))
    costs = device.cost_model(MODEL).mean_costs(policy, prompt_len=500, lengths=[1000], trials=(1, 4))
    weights_s = max(
        2 * MODEL.matmul_parameters_per_token / RATE, 2 * MODEL.matmul_parameters_per_token / BATCH / BANDWIDTH
    )
    for trials, cost in zip((1, 4), costs, strict=True):
        steps_s = trials * 1000 * (weights_s + MODEL.num_layers * overhead_s / BATCH)
        num_bytes = (trials * own_keys + shared_keys) * MODEL.kv_bytes_per_token(2)
        seconds = steps_s + num_bytes / (efficiency * BANDWIDTH)
        assert cost == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ceilings": None}, "must carry measured ceilings"),
        ({"operations": ("dense",)}, "must have cold block_topk rows"),
    ],
)
def test_a_result_file_that_lacks_something_is_named(tmp_path, change, message):
    with pytest.raises(DataFileError, match=rf"r\.json: result file {message}"):
        read_measured_device(write_result(tmp_path / "r.json", **change))
