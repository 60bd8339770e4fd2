"""Every way to launch computes the same: each variant against float64, its counters, and what it reads when."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kinetics_kernels import api
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummaryKind
from kinetics_kernels.testing import DecodeInputs, assert_dense_correct, assert_sparse_correct, make_inputs
from tests.support.kernel_setting import DEVICE, DTYPES, IS_INTERPRETED, skip_module_unless_kernels_run, tables_alone

skip_module_unless_kernels_run()

from kinetics_kernels.block_topk import gpu_select  # noqa: E402 - after the skip: triton may be missing
from kinetics_kernels.gpu_runtime import overlap  # noqa: E402
from kinetics_kernels.gpu_runtime.configs import FAST, VARIANTS, launch_variant, use_variant  # noqa: E402
from kinetics_kernels.gpu_runtime.counters import zero_counters  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.kernel]
EVERY_VARIANT = pytest.mark.parametrize("variant", VARIANTS)
DTYPE_CASES = pytest.mark.parametrize("dtype", DTYPES, ids=str)
SELECTION = PageSelection(num_pages=5, num_sink_pages=1, num_local_pages=1)


def inputs_for(lengths: list[int], dtype: torch.dtype, *, group: int = 4, heads: int = 2, **more: Any) -> DecodeInputs:
    shape = DecodeShape(
        batch=len(lengths),
        context_len=max(lengths),
        num_q_heads=group * heads,
        num_kv_heads=heads,
        head_dim=64,
        page_size=16,
    )
    return make_inputs(shape, dtype=dtype, device=DEVICE, seed=3, seq_lens=lengths, **more)


@EVERY_VARIANT
@DTYPE_CASES
@pytest.mark.parametrize("num_splits", [0, 3, 7])
def test_dense_is_within_the_error_budget(num_splits: int, dtype: torch.dtype, variant: str) -> None:
    inputs = inputs_for([300, 33, 1], dtype, group=5)
    with use_variant(variant):
        out, lse = api.paged_decode_with_lse(inputs.q, inputs.cache, num_splits=num_splits, backend="gpu")
    assert_dense_correct(out, inputs, lse=lse)


@EVERY_VARIANT
@DTYPE_CASES
@pytest.mark.parametrize("layout", ["nhd", "hnd"])
def test_the_whole_sparse_path_is_within_the_error_budget(layout: Any, dtype: torch.dtype, variant: str) -> None:
    inputs = inputs_for([213, 100, 16], dtype, layout=layout)
    summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN, backend="gpu")
    scores = api.score_pages(inputs.q, inputs.cache, summary, backend="gpu")
    pages = api.select_pages(scores, inputs.cache, selection=SELECTION, backend="gpu")
    with use_variant(variant):
        whole = {"selection": SELECTION, "num_splits": 2, "backend": "gpu"}
        out, lse = api.block_topk_decode_with_lse(inputs.q, inputs.cache, summary, **whole)
    assert_sparse_correct(out, inputs, pages, lse=lse)


@DTYPE_CASES
def test_counters_are_zero_after_every_call_and_a_second_call_agrees(dtype: torch.dtype) -> None:
    inputs = inputs_for([300, 5], dtype)
    with use_variant("merged"):
        outs = [api.paged_decode(inputs.q, inputs.cache, num_splits=4, backend="gpu") for _ in range(3)]
    assert not zero_counters(1, inputs.q.device).any()
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


@pytest.mark.skipif(not IS_INTERPRETED, reason="programs run in order in the interpreter alone")
@pytest.mark.parametrize("operation", ["dense", "score", "select", "append"])
def test_nothing_is_read_before_the_kernel_before_has_ended(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel needs is put into memory when it waits, as if the kernel before had just written it."""
    inputs = inputs_for([120, 40], torch.float32)
    summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN, backend="gpu")
    scores = api.score_pages(inputs.q, inputs.cache, summary, backend="gpu")
    call = {
        "dense": lambda: api.paged_decode(inputs.q, inputs.cache, num_splits=2, backend="gpu"),
        "score": lambda: api.score_pages(inputs.q, inputs.cache, summary, backend="gpu"),
        "select": lambda: api.select_pages(scores, inputs.cache, selection=SELECTION, backend="gpu"),
        "append": lambda: api.append_kv(inputs.q[:, :2], inputs.q[:, 2:4], inputs.cache, backend="gpu"),
    }[operation]
    late = {"dense": inputs.cache.seq_lens, "score": inputs.q, "select": inputs.cache.seq_lens}.get(operation)
    late = inputs.cache.seq_lens if late is None else late
    right = late.clone()
    expected = call()
    written = inputs.cache.k_cache.clone()

    def arrive() -> None:
        late.copy_(right)

    monkeypatch.setattr(overlap, "gdc_wait", arrive)
    monkeypatch.setattr(api, "check_bounds", lambda *_tensors, **_more: None)
    late.fill_(0)
    with use_variant("overlapped"):
        found = call()
    if found is None:
        assert torch.equal(inputs.cache.k_cache.nan_to_num(), written.nan_to_num())
    else:
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kept", [1, 2, 7, 64, 100, 199, 200])
@pytest.mark.parametrize("values", ["normal", "ties", "huge", "equal", "infinite"])
def test_eight_ways_keep_the_pages_that_bisection_keeps(values: str, kept: int) -> None:
    generator = torch.Generator().manual_seed(kept)
    scores = torch.randn(2, 2, 200, generator=generator)
    scores = {
        "normal": scores,
        "ties": scores.mul(2).round(),
        "huge": scores * 1e38,
        "equal": torch.zeros_like(scores),
        "infinite": scores.masked_fill(scores > 1, float("-inf")),
    }[values].to(DEVICE)
    table = torch.randperm(400, generator=generator).int().view(2, 200).to(DEVICE)
    cache = tables_alone(table, torch.tensor([3200, 1777], dtype=torch.int32, device=DEVICE))
    selection = PageSelection(num_pages=kept, num_sink_pages=0, num_local_pages=0)
    found = []
    for variant in ("plain", "eight_way"):
        found.append(torch.full((2, 2, kept), -7, dtype=torch.int32, device=DEVICE))
        with use_variant(variant):
            gpu_select.select_pages(scores, cache, selection=selection, page_indices=found[-1])
    assert torch.equal(*found)


def test_a_variant_ends_with_its_context_and_an_unknown_one_is_refused() -> None:
    before = launch_variant("sm_90")
    with use_variant(FAST):
        assert launch_variant("sm_90") == VARIANTS[FAST]
        assert not launch_variant("sm_80").is_overlapped
    assert launch_variant("sm_90") == before
    with pytest.raises(ValueError, match="variant must be one of plain"), use_variant("quick"):
        pass
