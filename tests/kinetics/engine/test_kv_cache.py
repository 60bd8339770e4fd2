"""Pages are counted right: reused, shared, copied before a shared one is written, never handed out twice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics.engine.kv_cache import KvCache, PageAllocator, PagedSequence
from kinetics.specs.models import ModelSpec
from kinetics_kernels.shapes import PageSummaryKind, num_pages_for

MODEL = ModelSpec(
    name="tiny",
    num_layers=2,
    hidden_size=64,
    num_q_heads=2,
    num_kv_heads=1,
    head_dim=64,
    intermediate_size=64,
    vocab_size=50,
    ties_embeddings=True,
    has_qkv_bias=False,
    has_qk_norm=True,
)


def make_cache(num_pages=8):
    return KvCache(
        MODEL, num_pages=num_pages, page_size=16, device="cpu", dtype=torch.float32, summary_kind=PageSummaryKind.MEAN
    )


def test_a_refused_allocation_takes_nothing():
    allocator = PageAllocator(3)
    allocator.allocate(2)
    with pytest.raises(ValueError, match="2 cache pages are needed, got 1 free of 3"):
        allocator.allocate(2)
    assert allocator.num_free == 1


def test_a_page_is_free_only_when_its_last_holder_lets_go():
    allocator = PageAllocator(2)
    pages = allocator.allocate(2)
    allocator.share(pages[:1])
    allocator.release(pages)
    assert allocator.num_free == 1
    allocator.release(pages[:1])
    assert allocator.num_free == 2


def test_a_fork_shares_full_pages_and_copies_the_partial_one_before_writing():
    cache = make_cache()
    original = PagedSequence()
    cache.reserve(original, 20)
    original.num_tokens = 20
    cache.keys[:, original.pages[1]] = 7.0
    fork = cache.fork(original)
    assert cache.allocator.num_free == 6
    cache.reserve(fork, 1)
    assert fork.pages[0] == original.pages[0]
    assert fork.pages[1] != original.pages[1]
    assert torch.equal(cache.keys[:, fork.pages[1]], cache.keys[:, original.pages[1]])
    cache.keys[:, fork.pages[1], 4] = 9.0
    assert cache.keys[:, original.pages[1]].eq(7.0).all()
    cache.reserve(original, 1)  # alone again on its page: no copy
    assert cache.allocator.num_free == 5


def test_a_fork_at_a_page_boundary_copies_nothing():
    cache = make_cache()
    original = PagedSequence()
    cache.reserve(original, 32)
    original.num_tokens = 32
    fork = cache.fork(original)
    cache.reserve(fork, 1)
    assert fork.pages[:2] == original.pages
    assert cache.allocator.num_free == 5


def test_a_refused_reservation_leaves_the_sequence_as_it_was():
    cache = make_cache(num_pages=2)
    sequence = PagedSequence()
    cache.reserve(sequence, 20)
    sequence.num_tokens = 20
    fork = cache.fork(sequence)
    before = list(fork.pages)
    with pytest.raises(ValueError, match="cache pages are needed"):
        cache.reserve(fork, 1)
    assert fork.pages == before
    cache.release(fork)
    cache.release(sequence)
    assert cache.allocator.num_free == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["new", "grow", "fork", "drop"]), st.integers(1, 40)), max_size=40))
def test_no_page_is_lost_or_writable_by_two(steps):
    cache = make_cache(num_pages=12)
    live: list[PagedSequence] = []
    for what, amount in steps:
        chosen = live[amount % len(live)] if live else None
        try:
            if what == "new":
                sequence = PagedSequence()
                cache.reserve(sequence, amount)
                sequence.num_tokens = amount
                live.append(sequence)
            elif chosen is None:
                continue
            elif what == "grow":
                cache.reserve(chosen, amount)
                assert not cache.allocator.is_shared(chosen.pages[chosen.num_tokens // 16])
                chosen.num_tokens += amount
            elif what == "fork":
                live.append(cache.fork(chosen))
            else:
                cache.release(chosen)
                live = [one for one in live if one is not chosen]
        except ValueError:
            pass
        held = {page for one in live for page in one.pages}
        assert len(held) + cache.allocator.num_free == 12
        assert all(len(one.pages) == num_pages_for(one.num_tokens, 16) for one in live)
