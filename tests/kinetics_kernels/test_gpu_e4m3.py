"""Caches of 8-bit floats: the same bits as the reference, attention within its budget, errors within theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from kinetics_kernels import api
from kinetics_kernels.kv_cache import e4m3
from kinetics_kernels.kv_cache import reference as kv_cache_reference
from kinetics_kernels.shapes import DecodeShape, PagedCache, PageSelection, PageSummary, PageSummaryKind
from kinetics_kernels.testing import DecodeInputs, assert_dense_correct, assert_sparse_correct, make_inputs
from tests.support.kernel_setting import DEVICE, DTYPES, IS_INTERPRETED, skip_module_unless_kernels_run

skip_module_unless_kernels_run()

from kinetics_kernels.gpu_runtime import configs  # noqa: E402 - after the skip: triton may be missing
from kinetics_kernels.gpu_runtime.configs import GPU_CONFIGS, use_variant  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.kernel]
DTYPE_CASES = pytest.mark.parametrize("dtype", DTYPES, ids=str)

CONVERSIONS = ["instructions", "integers"]
# The interpreter widens 8-bit floats rightly, but narrows one in fourteen to a neighbour of the nearest.
NARROWING = ["integers"] if IS_INTERPRETED else CONVERSIONS


@pytest.fixture(params=CONVERSIONS)
def conversion(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Convert by the hardware's instructions, or by integer arithmetic as where it has none."""
    if request.param == "integers":
        plain = {arch: replace(config, converts_e4m3=False) for arch, config in GPU_CONFIGS.items()}
        monkeypatch.setattr(configs, "GPU_CONFIGS", plain)
    return str(request.param)


def narrow_inputs(lengths: list[int], dtype: torch.dtype, *, page: int = 16, spread: float = 1.0, **more: Any) -> Any:
    shape = DecodeShape(
        batch=len(lengths), context_len=max(lengths), num_q_heads=8, num_kv_heads=2, head_dim=64, page_size=page
    )
    inputs = make_inputs(shape, dtype=dtype, device=DEVICE, seed=5, seq_lens=lengths, **more)
    if spread != 1.0:
        # Pages of very different range, so that a scale taken from another page shows.
        factors = torch.logspace(-1, 1, inputs.cache.num_physical_pages, base=spread, device=DEVICE)
        inputs.v_cache.mul_(factors[:, None, None, None].to(dtype))
    return replace(inputs, cache=e4m3.narrow_cache(inputs.cache))


@DTYPE_CASES
@pytest.mark.parametrize("variant", ["plain", "merged"])
@pytest.mark.parametrize(("lengths", "page"), [([200, 33, 1], 16), ([130, 64], 64), ([300], 256)])
@pytest.mark.usefixtures("conversion")
def test_dense_is_within_the_budget_of_what_is_stored(
    lengths: list[int], page: int, variant: str, dtype: torch.dtype
) -> None:
    inputs: DecodeInputs = narrow_inputs(lengths, dtype, page=page, spread=8.0)
    with use_variant(variant):
        out, lse = api.paged_decode_with_lse(inputs.q, inputs.cache, num_splits=2, backend="gpu")
    assert_dense_correct(out, inputs, lse=lse)


@DTYPE_CASES
@pytest.mark.parametrize("layout", ["nhd", "hnd"])
def test_sparse_is_within_the_budget_of_what_is_stored(layout: Any, dtype: torch.dtype) -> None:
    inputs: DecodeInputs = narrow_inputs([213, 90], dtype, layout=layout)
    values = torch.empty(inputs.cache.num_physical_pages, 2, 64, dtype=dtype, device=DEVICE)
    summary = PageSummary(kind=PageSummaryKind.MEAN, values=values)
    api.summarize_pages(inputs.cache, kind=summary.kind, out=summary, backend="gpu")
    scores = api.score_pages(inputs.q, inputs.cache, summary, backend="gpu")
    selection = PageSelection(num_pages=5, num_sink_pages=1, num_local_pages=1)
    pages = api.select_pages(scores, inputs.cache, selection=selection, backend="gpu")
    out = api.sparse_paged_decode(inputs.q, inputs.cache, pages, backend="gpu")
    assert_sparse_correct(out, inputs, pages)


def empty_cache(num_pages: int = 2) -> PagedCache:
    stored = torch.zeros(num_pages, 16, 2, 64, dtype=e4m3.DTYPE, device=DEVICE)
    scale = torch.full((num_pages, 2), float("nan"), device=DEVICE)
    table = torch.arange(num_pages, dtype=torch.int32, device=DEVICE)[None]
    lens = torch.ones(1, dtype=torch.int32, device=DEVICE)
    return PagedCache(
        k_cache=stored, v_cache=stored.clone(), block_table=table, seq_lens=lens, k_scale=scale, v_scale=scale.clone()
    )


@pytest.mark.parametrize("conversion", NARROWING, indirect=True)
def test_appending_leaves_the_bits_and_scales_that_the_reference_leaves(conversion: str) -> None:
    generator = torch.Generator().manual_seed(7)
    made, expected = empty_cache(), empty_cache()
    for position in range(20):
        # Ever larger, so that pages are scaled anew several times, with zeros and tiny numbers among them.
        k = (torch.randn(1, 2, 64, generator=generator) * 1.7**position).half().to(DEVICE)
        v = torch.randn(1, 2, 64, generator=generator).half().to(DEVICE) * (1e-4 if position % 3 else 0.0)
        lens = torch.tensor([position + 1], dtype=torch.int32, device=DEVICE)
        api.append_kv(k, v, replace(made, seq_lens=lens), backend="gpu")
        kv_cache_reference.append_kv(k, v, replace(expected, seq_lens=lens), page_summary=None)
        for name in ("k_cache", "v_cache"):
            assert torch.equal(*(getattr(one, name).view(torch.uint8) for one in (made, expected))), position
        for name in ("k_scale", "v_scale"):
            assert torch.equal(*(getattr(one, name).nan_to_num() for one in (made, expected))), position


def test_numbers_stay_within_the_error_that_8_bits_allow() -> None:
    inputs = make_inputs(
        DecodeShape(batch=1, context_len=160, num_q_heads=8, num_kv_heads=2, head_dim=64, page_size=16),
        dtype=torch.float32,
        device=DEVICE,
        seed=6,
    )
    for factor in (1e-6, 1.0, 1e6):
        cache = e4m3.narrow_cache(replace(inputs.cache, k_cache=inputs.k_cache * factor))
        assert cache.k_scale is not None
        scale = cache.k_scale[:, None].expand(-1, 16, -1)
        keys = inputs.k_cache * factor
        is_used = ~keys.isnan()
        error = (e4m3.widen(cache.k_cache, scale) - keys).abs()
        assert (error[is_used] <= e4m3.error_budget(keys, scale)[is_used]).all()
        powers = torch.log2(cache.k_scale[~cache.k_scale.isnan()])
        assert torch.equal(powers, powers.round())


@pytest.mark.parametrize("spoil", ["no_scale", "scale_without_need", "shape", "dtype"])
def test_scales_that_do_not_fit_are_refused(spoil: str) -> None:
    cache = empty_cache()
    assert cache.k_scale is not None
    wide = torch.zeros(2, 16, 2, 64, device=DEVICE)
    cache = {
        "no_scale": replace(cache, k_scale=None),
        "scale_without_need": replace(cache, k_cache=wide, v_cache=wide),
        "shape": replace(cache, k_scale=cache.k_scale[:1]),
        "dtype": replace(cache, k_scale=cache.k_scale.double()),
    }[spoil]
    with pytest.raises(ValueError, match=r"k_scale must .*got"):
        api.paged_decode(torch.zeros(1, 8, 64, dtype=torch.float16, device=DEVICE), cache, backend="gpu")
