"""Why the LSE is part of a proof: at long contexts it shows a forgotten token that 16 bits of output hide."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinetics_kernels.shapes import DecodeShape
from kinetics_kernels.testing import DecodeInputs, assert_within_error_budget, make_inputs, reference_dense

CONTEXT_LEN = 128 * 1024


@pytest.fixture(scope="module")
def inputs() -> DecodeInputs:
    shape = DecodeShape(batch=1, context_len=CONTEXT_LEN, num_q_heads=4, num_kv_heads=1, head_dim=64, page_size=16)
    return make_inputs(shape, dtype=torch.bfloat16, device="cpu", seed=0)


def without_newest(inputs: DecodeInputs, num_tokens: int) -> DecodeInputs:
    return replace(inputs, cache=replace(inputs.cache, seq_lens=inputs.seq_lens - num_tokens))


@pytest.mark.parametrize("num_forgotten", [1, 16])
def test_a_token_forgotten_at_128k_turns_a_bfloat16_proof_red(inputs: DecodeInputs, num_forgotten: int) -> None:
    exact, single = (reference_dense(inputs, dtype=dtype) for dtype in (torch.float64, torch.float32))
    wrong = reference_dense(without_newest(inputs, num_forgotten), dtype=torch.float64)
    with pytest.raises(AssertionError, match="LSE errs by"):
        assert_within_error_budget(wrong.lse.float(), oracle=exact.lse, low_precision=single.lse, subject="LSE")
    assert_within_error_budget(single.lse, oracle=exact.lse, low_precision=single.lse, subject="LSE")


def test_the_output_alone_would_have_passed(inputs: DecodeInputs) -> None:
    exact, plain = (reference_dense(inputs, dtype=dtype) for dtype in (torch.float64, torch.bfloat16))
    wrong = reference_dense(without_newest(inputs, 1), dtype=torch.float64).out.bfloat16()
    assert_within_error_budget(wrong, oracle=exact.out, low_precision=plain.out, subject="output")
