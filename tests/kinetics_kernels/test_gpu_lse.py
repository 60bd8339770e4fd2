"""A token that a kernel of ours forgets at 128k turns its proof red in half precision: each kernel, by its own LSE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from kinetics_kernels import api
from kinetics_kernels.shapes import DecodeShape
from kinetics_kernels.testing import DecodeInputs, assert_dense_correct, make_inputs
from tests.support.kernel_setting import DEVICE, skip_module_unless_kernels_run

skip_module_unless_kernels_run()

from kinetics_kernels.gpu_runtime.configs import FAST, PLAIN, use_variant  # noqa: E402 - triton may be missing

pytestmark = [pytest.mark.gpu, pytest.mark.kernel]
CONTEXT_LEN = 128 * 1024
PAGE_SIZE = 256

Decoded = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def inputs() -> DecodeInputs:
    shape = DecodeShape(
        batch=1, context_len=CONTEXT_LEN, num_q_heads=2, num_kv_heads=1, head_dim=64, page_size=PAGE_SIZE
    )
    return make_inputs(shape, dtype=torch.float16, device=DEVICE, seed=0)


def dense(inputs: DecodeInputs) -> Decoded:
    return api.paged_decode_with_lse(inputs.q, inputs.cache, backend="gpu")


def sparse(inputs: DecodeInputs) -> Decoded:
    """Over lists that name every page: what is forgotten is forgotten by the kernel."""
    lists = inputs.block_table[:, None, : inputs.shape.pages_per_request].contiguous()
    return api.sparse_paged_decode_with_lse(inputs.q, inputs.cache, lists, backend="gpu")


@pytest.mark.parametrize(("decode", "variant"), [(dense, PLAIN), (sparse, FAST)], ids=["split", "merged"])
def test_a_forgotten_token_turns_the_proof_red(
    decode: Callable[[DecodeInputs], Decoded], variant: str, inputs: DecodeInputs
) -> None:
    forgetful = replace(inputs, cache=replace(inputs.cache, seq_lens=inputs.seq_lens - 1))
    with use_variant(variant):
        out, lse = decode(forgetful)
    assert_dense_correct(out, inputs)  # the output alone hides it
    assert_dense_correct(out, forgetful, lse=lse)
    with pytest.raises(AssertionError, match="lse errs by"):
        assert_dense_correct(out, inputs, lse=lse)
