"""`check_values` refuses what keeps every bound and gives a wrong answer all the same."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics_kernels import api
from kinetics_kernels.api import check_values
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummaryKind
from kinetics_kernels.testing import make_inputs

PAGE = 16
KEPT = PageSelection(num_pages=3, num_sink_pages=1, num_local_pages=0)


def made(seq_lens, **options):
    shape = DecodeShape(
        batch=len(seq_lens), context_len=max(seq_lens), num_q_heads=8, num_kv_heads=2, head_dim=64, page_size=PAGE
    )
    return make_inputs(shape, dtype=torch.float32, device="cpu", seed=0, seq_lens=seq_lens, **options)


@pytest.fixture
def cache():
    """Three pages of request 0, two of request 1."""
    return made([40, 20]).cache


def lists(cache):
    table = cache.block_table
    return torch.stack([table[0, [0, 2]], table[1, [0, 1]]])[:, None].repeat(1, 2, 1).contiguous()


def with_value(tensor, place, value):
    changed = tensor.clone()
    changed[place] = value
    return changed


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=5))
def test_what_the_package_makes_and_selects_passes(seq_lens):
    x = made(seq_lens)
    summary = api.summarize_pages(x.cache, kind=PageSummaryKind.MEAN)
    scores = api.score_pages(x.q, x.cache, summary)
    pages = api.select_pages(scores, x.cache, selection=KEPT)
    check_values(x.cache, q=x.q, scores=scores, page_indices=pages)


def test_full_pages_may_be_shared_and_views_be_strided(cache):
    check_values(replace(cache, block_table=with_value(cache.block_table, (1, 0), cache.block_table[0, 0])))
    both = torch.zeros(cache.num_physical_pages, 2, 2, PAGE, 64)
    k_cache, v_cache = both[:, 0].transpose(1, 2), both[:, 1].transpose(1, 2)
    check_values(replace(cache, k_cache=k_cache, v_cache=v_cache))


@pytest.mark.parametrize("name", ["k_cache", "v_cache"])
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:1].expand(x.shape),
        lambda x: x[..., :1].expand(x.shape),
        lambda x: x.as_strided(x.shape, (x.stride(0) // 2, *x.stride()[1:])),
    ],
    ids=["one page", "one element", "overlapping pages"],
)
def test_a_cache_whose_elements_share_memory_is_refused(cache, name, view):
    line = refused(replace(cache, **{name: view(getattr(cache, name))}))
    assert line.startswith(f"{name} must have memory for every element, got strides (")


def test_a_request_has_a_page_once(cache):
    table = with_value(cache.block_table, (0, 1), cache.block_table[0, 0])
    page = int(table[0, 0])
    assert f"block_table must hold a page once per request, got {page} twice for request 0" in refused(
        replace(cache, block_table=table)
    )


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (0, 2)])
def test_a_page_that_is_written_to_is_one_requests_alone(cache, place):
    written = int(cache.block_table[1, 1])
    line = refused(replace(cache, block_table=with_value(cache.block_table, place, written)))
    assert f"the current page must be one request's alone, got {written} for requests" in line


def test_a_list_holds_a_page_once(cache):
    page = int(cache.block_table[0, 2])
    line = refused(cache, with_value(lists(cache), (0, 1, 0), page))
    assert f"page_indices must hold a page once per list, got {page} twice for request 0, KV head 1" in line


@pytest.mark.parametrize("column", [0, 1])
def test_a_list_holds_pages_of_its_request(cache, column):
    foreign = int(cache.block_table[0, column])
    line = refused(cache, with_value(lists(cache), (1, 0, 0), foreign))
    assert f"page_indices must hold pages of the request's own, got {foreign} for request 1, KV head 0" in line


def test_entries_that_nobody_uses_may_hold_anything(cache):
    wide = torch.cat([cache.block_table, cache.block_table[:, :1]], dim=1)
    wide[1, 2:] = wide[0, 2]
    check_values(replace(cache, block_table=wide), page_indices=lists(cache))


def refused(cache, page_indices=None):
    with pytest.raises(ValueError, match=r"; |, got ") as raised:
        check_values(cache, page_indices=page_indices)
    assert "\n" not in str(raised.value)
    return str(raised.value)
