"""Weights may be bfloat16 on a CPU whose kernels are float32; which is faster is measured, not assumed."""

from __future__ import annotations

import pytest
import torch

from kinetics.engine import step_dtype as compute_dtype
from kinetics.engine.step_dtype import (
    cache_dtype,
    choose_dtype,
    choose_model_dtype,
    clearly_fastest,
    fastest,
    step_products,
)
from kinetics.specs.models import MODEL_SPECS, find_model


def test_the_fastest_product_decides():
    assert fastest({"float32": 1.0, "bfloat16": 0.5}).dtype == "bfloat16"
    assert fastest({"float32": 1.0, "bfloat16": 50.0}).dtype == "float32"


def test_every_candidate_of_a_cpu_is_timed_and_told():
    choice = choose_dtype("cpu")
    assert choice.product_s.keys() == {"float32", "bfloat16"}
    assert min(choice.product_s.values()) == choice.product_s[choice.dtype] > 0
    assert choice.dtype in str(choice)
    assert "in bfloat16" in str(choice)


def test_a_gpu_is_not_timed(monkeypatch):
    monkeypatch.setattr(compute_dtype, "_product_s", None)
    assert str(choose_dtype("cuda")) == "steps multiply in bfloat16"


@pytest.mark.parametrize(
    ("device", "dtype", "kept"),
    [
        ("cpu", torch.bfloat16, torch.float32),
        ("cpu", torch.float32, torch.float32),
        ("cuda", torch.float16, torch.float16),
    ],
)
def test_the_cache_is_float32_on_a_cpu(device, dtype, kept):
    assert cache_dtype(dtype, device) is kept


DENSE_MODELS = [model for model in MODEL_SPECS if not model.num_experts]


@pytest.mark.parametrize("model", DENSE_MODELS, ids=lambda model: model.name)
def test_the_products_of_a_step_are_all_that_a_token_multiplies_with(model):
    assert sum(rows * width * count for rows, width, count in step_products(model)) == model.matmul_parameters_per_token


@pytest.mark.parametrize("gain", [0.5, 0.89, 0.91, 2.0])
def test_every_product_of_the_model_counts_as_often_as_a_step_has_it_and_bfloat16_must_be_clearly_faster(
    monkeypatch, gain
):
    timed = []

    def seconds(rows, width, num_tokens):
        timed.append((rows, num_tokens))
        return {"float32": rows * width, "bfloat16": rows * width * gain}

    monkeypatch.setattr(compute_dtype, "_interleaved_s", seconds)
    model = find_model("Qwen3-0.6B")
    choice = choose_model_dtype(model, num_tokens=32)
    assert choice.product_s["float32"] == pytest.approx(model.matmul_parameters_per_token)
    assert choice.dtype == ("bfloat16" if gain < 0.9 else "float32")
    assert {tokens for _, tokens in timed} == {32}
    assert max(rows for rows, _ in timed) == 8192
    assert "a step of 32 tokens of Qwen3-0.6B took" in str(choice)


def test_real_products_are_timed_in_both(monkeypatch):
    monkeypatch.setattr(compute_dtype, "_EACH_S", 0.01)
    monkeypatch.setattr(compute_dtype, "_STREAMED_BYTES", 2**16)
    times = compute_dtype._interleaved_s(48, 32, 4)
    assert times.keys() == {"float32", "bfloat16"}
    assert all(0 < one < 60 for one in times.values())
    assert clearly_fastest(times, products="p").product_s == times
