"""Products with few tokens are as exact as torch's, the same whatever the batch, and grouped by expert."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import silu

from kinetics.engine.linear import MAX_SKINNY_TOKENS, grouped_linear, linear
from kinetics.engine.moe import experts_mlp
from kinetics.engine.weights import random_weights
from kinetics.specs.models import find_model
from kinetics_kernels.linear.cpu import grouped_skinny_linear
from kinetics_kernels.testing import assert_within_error_budget


def assert_product(out, x, weight):
    oracle = x.double() @ weight.double().T
    assert_within_error_budget(out, oracle=oracle, low_precision=x @ weight.T, subject="product")


@settings(max_examples=40)
@given(num_tokens=st.integers(1, 40), rows=st.integers(1, 70), width=st.integers(1, 130), seed=st.integers(0, 99))
def test_a_skinny_product_is_within_its_error_budget(num_tokens, rows, width, seed):
    generator = torch.Generator().manual_seed(seed)
    x, weight = (torch.randn(n, width, generator=generator) for n in (num_tokens, rows))
    weight = weight.abs() * x[0].sign()  # the first token's terms do not cancel: budgets are shares of the largest sum
    assert_product(linear(x, weight), x, weight)


@pytest.mark.parametrize(("rows", "width"), [(3072, 1024), (1024, 3072), (17, 1999)])
def test_a_token_has_the_same_product_in_every_batch(rows, width):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, width, generator=generator) for n in (MAX_SKINNY_TOKENS, rows))
    whole = linear(x, weight)
    assert_product(whole, x, weight)
    for first, last in ((0, 1), (3, 5), (8, 16), (31, 32), (7, 20)):
        assert torch.equal(linear(x[first:last], weight), whole[first:last])


def test_nan_and_infinity_reach_the_output():
    x, weight = torch.ones(3, 16), torch.ones(5, 16)
    x[1, 3], weight[2, 4] = float("nan"), float("inf")
    out = linear(x, weight)
    assert out[1].isnan().all()
    assert out[0, 2] == float("inf")
    assert out[2, [0, 1, 3, 4]].eq(16).all()


def test_bias_and_strided_inputs_are_taken_as_they_come():
    generator = torch.Generator().manual_seed(0)
    wide, weight, bias = torch.randn(4, 64, generator=generator), torch.randn(6, 32, generator=generator), torch.ones(6)
    torch.testing.assert_close(linear(wide[:, ::2], weight, bias), wide[:, ::2] @ weight.T + 1)


@pytest.mark.parametrize("counts", [[1], [0, 3, 0, 5], [7, 0, 0, 1, 2], [0, 0, 4]])
def test_each_group_meets_its_own_matrix(counts):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sum(counts), 48, generator=generator)
    weight = torch.randn(len(counts), 20, 48, generator=generator)
    starts = torch.tensor([0, *counts]).cumsum(0)
    expected = torch.cat([x[a:b] @ w.T for a, b, w in zip(starts[:-1], starts[1:], weight, strict=True)])
    for product in (grouped_skinny_linear, grouped_linear):
        torch.testing.assert_close(product(x, weight, starts), expected)


@pytest.mark.parametrize("num_tokens", [1, 5, 400])
def test_experts_equal_a_loop_over_tokens(num_tokens):
    model = replace(
        find_model("Qwen3-30B-A3B"), num_layers=1, hidden_size=64, intermediate_size=32, vocab_size=100, num_experts=16
    )
    layer = random_weights(model, device="cpu", dtype=torch.float32, seed=0).layers[0]
    x = torch.randn(num_tokens, 64, generator=torch.Generator().manual_seed(1))
    for normalizes in (True, False):
        expected = torch.zeros_like(x)
        for token, shares in enumerate(torch.softmax(x @ layer.router.T, dim=-1)):
            best = shares.topk(8)
            for share, expert in zip(best.values, best.indices, strict=True):
                gate, up = (layer.gate_up[expert] @ x[token]).chunk(2)
                weight = share / best.values.sum() if normalizes else share
                expected[token] += weight * (layer.down[expert] @ (silu(gate) * up))
        got = experts_mlp(x, layer, num_experts_per_token=8, normalizes_weights=normalizes)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
