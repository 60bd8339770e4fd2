"""Weights may be bfloat16 on a CPU whose kernels are float32; which is faster is measured, not assumed."""

from __future__ import annotations

import pytest
import torch

from kinetics.engine import step_dtype as compute_dtype
from kinetics.engine.step_dtype import cache_dtype, choose_dtype, fastest


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
