"""Roofline bounds on published throughput: reproduced where they are known, and batches that do not fit."""

import pytest

from kinetics.law.throughput_bounds import max_batch, speedup_bounds, step_s
from kinetics.specs.hardware import find_accelerator
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockTopK, Dense, TopK

H200 = find_accelerator("H200")


@pytest.mark.parametrize(
    ("name", "context_len", "batch"),
    [("Qwen3-0.6B", 16384, 599), ("Qwen3-32B", 16384, 247), ("Qwen3-0.6B", 32768, 299), ("Qwen3-32B", 32768, 123)],
)
def test_the_published_batch_of_4096_does_not_fit(name, context_len, batch):
    assert max_batch(find_model(name), context_len=context_len, device=H200) == batch < 4096


@pytest.mark.parametrize(
    ("name", "kv_budget", "bound"),
    [("Qwen3-0.6B", 512, 20.4), ("Qwen3-0.6B", 1024, 10.4), ("Qwen3-32B", 512, 9.1), ("Qwen3-32B", 1024, 6.5)],
)
def test_bounds_at_16k_are_those_of_the_audit(name, kv_budget, bound):
    (found,) = [row[-1] for row in speedup_bounds() if row[:3] == (name, 16384, kv_budget)]
    assert found == pytest.approx(bound, rel=0.03)


def test_a_step_takes_its_weights_its_keys_and_its_search():
    model = find_model("Qwen3-8B")
    shape = {"context_len": 16384, "batch": 10**6, "device": H200}
    weights_s = 2 * model.matmul_parameters_per_token / H200.bf16_flop_per_s
    keys_s = 16384 * model.kv_bytes_per_token(2) / H200.memory_bytes_per_s
    assert step_s(model, Dense(), **shape) == pytest.approx(weights_s + keys_s)
    found = step_s(model, TopK(kv_budget=512), **shape)
    with_search = step_s(model, BlockTopK(block_size=32, top_blocks=16), **shape)
    assert found == pytest.approx(weights_s + keys_s / 32)
    assert with_search - found == pytest.approx(keys_s / 64)
