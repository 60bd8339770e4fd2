"""Values are new in the same memory, six keys are loud, and whoever overwrites anything is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kinetics.cases.kernels import Cell, GridOptions, GridSize, cells
from kinetics.measure.cell_inputs import CellInputs, WatchedInputs, ask_anew, draw, make_cell_inputs
from kinetics.measure.loud_keys import loud_positions, write_loud_keys
from kinetics.measure.selection_overlap import selection_overlap
from kinetics_kernels.shapes import DecodeShape
from kinetics_kernels.testing import assert_dense_correct, make_inputs, reference_dense


def cell_of(context_len: int, *, model: str = "Qwen3-0.6B") -> Cell:
    options = GridOptions(
        size=GridSize.SMOKE, device_kind="cpu", dtype="float32", models=[model], batches=[2], context_lens=[context_len]
    )
    return cells(options)[0]


@pytest.fixture
def inputs() -> CellInputs:
    return make_cell_inputs(cell_of(203), device="cpu", seed=0)


def test_a_draw_changes_every_value_and_no_address(inputs: CellInputs) -> None:
    before = [tensor.clone() for tensor in inputs.tensors]
    addresses = [tensor.data_ptr() for tensor in inputs.tensors]
    draw(inputs, seed=1)
    assert [tensor.data_ptr() for tensor in inputs.tensors] == addresses
    table, lengths = inputs.decode.block_table, inputs.decode.seq_lens
    for old, new in zip(before, inputs.tensors, strict=True):
        is_fixed = new is table or new is lengths
        real = ~torch.isnan(old.double()) & torch.isfinite(old.double())
        assert torch.equal(old, new) if is_fixed else (old[real] != new[real]).double().mean() > 0.99


def test_a_draw_of_one_seed_is_always_the_same(inputs: CellInputs) -> None:
    before = [tensor.clone() for tensor in inputs.tensors]
    draw(inputs, seed=7)
    draw(inputs, seed=0)
    assert all(torch.equal(old.nan_to_num(), new.nan_to_num()) for old, new in zip(before, inputs.tensors, strict=True))


def test_copies_are_refreshed_when_keys_are_new_and_queries_are_not(inputs: CellInputs) -> None:
    q, k = inputs.decode.q.clone(), inputs.decode.k_cache.clone()
    seen: list[tuple[bool, bool]] = []

    def refresh() -> None:
        is_new_key = not torch.equal(k.nan_to_num(), inputs.decode.k_cache.nan_to_num())
        seen.append((is_new_key, not torch.equal(q, inputs.decode.q)))

    draw(inputs, seed=1, refreshes=[refresh])
    assert seen == [(True, False)]
    assert not torch.equal(q, inputs.decode.q)


@pytest.mark.parametrize(
    ("context_len", "page_size", "positions"),
    [
        (203, 16, [0, 15, 16, 101, 192, 202]),
        (1, 16, [0]),
        (16, 16, [0, 8, 15]),
        (17, 16, [0, 8, 15, 16]),
        (32768, 16, [0, 15, 16, 16384, 32752, 32767]),
    ],
)
def test_first_newest_edges_and_middle_are_loud(context_len: int, page_size: int, positions: list[int]) -> None:
    assert loud_positions(context_len, page_size) == positions


@pytest.mark.parametrize("model", ["Qwen3-0.6B", "Qwen3-14B"])  # groups of 2 and 5
def test_each_loud_key_weighs_about_a_seventh(model: str) -> None:
    context_len = 1000
    inputs = make_cell_inputs(cell_of(context_len, model=model), device="cpu", seed=0)
    decode = inputs.decode
    lse = reference_dense(decode, dtype=torch.float64).lse.double()
    for position in loud_positions(context_len, 16):
        pages = decode.block_table[:, position // 16].long()
        keys = decode.k_cache[pages, position % 16].double().repeat_interleave(decode.shape.group_size, dim=1)
        weights = torch.exp((decode.q.double() * keys).sum(dim=-1) / decode.shape.head_dim**0.5 - lse)
        assert 0.12 < float(weights.min()) <= float(weights.max()) < 0.17


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("position", [0, 15, 16, 4096, 8176, 8191])
def test_a_forgotten_loud_key_is_beyond_the_error_budget_in_any_precision(dtype: torch.dtype, position: int) -> None:
    shape = DecodeShape(batch=1, context_len=8192, num_q_heads=4, num_kv_heads=1, head_dim=64, page_size=16)
    inputs = make_inputs(shape, dtype=dtype, device="cpu", seed=0)
    write_loud_keys(inputs.cache, inputs.q, context_len=8192)
    right = reference_dense(inputs, dtype=torch.float32).out.to(dtype)
    slot = inputs.block_table[:, position // 16].long(), position % 16
    inputs.k_cache[slot] = -inputs.k_cache[slot]  # as good as not there
    forgetful = reference_dense(inputs, dtype=torch.float32).out.to(dtype)
    inputs.k_cache[slot] = -inputs.k_cache[slot]
    assert_dense_correct(right, inputs)
    with pytest.raises(AssertionError, match="out errs by"):
        assert_dense_correct(forgetful, inputs)


def scribble_keys(inputs: CellInputs) -> None:
    inputs.decode.k_cache[inputs.decode.block_table[1, 3], 5, 1, 7] += 0.5


def swap_two_values(inputs: CellInputs) -> None:
    cache, page = inputs.decode.v_cache, inputs.decode.block_table[0, 2]
    cache[page, [3, 4]] = cache[page, [4, 3]]


def swap_two_pages(inputs: CellInputs) -> None:
    inputs.decode.block_table[0, [1, 2]] = inputs.decode.block_table[0, [2, 1]]


def shorten_a_request(inputs: CellInputs) -> None:
    inputs.decode.seq_lens[1] -= 1


def scribble_summaries(inputs: CellInputs) -> None:
    inputs.page_summary.values[inputs.decode.block_table[0, 0]] *= 2.0


def scribble_scores(inputs: CellInputs) -> None:
    inputs.scores[0, 0, 0] = 0.0


@pytest.mark.parametrize(
    "scribble",
    [scribble_keys, swap_two_values, swap_two_pages, shorten_a_request, scribble_summaries, scribble_scores],
)
@pytest.mark.parametrize("exact_bytes", [0, 2**20])
def test_whatever_is_overwritten_is_noticed_and_restored(
    inputs: CellInputs, scribble: Callable[[CellInputs], None], exact_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinetics.measure.cell_inputs._EXACT_BYTES", exact_bytes)
    watched = WatchedInputs(inputs, seed=0)
    assert watched.is_intact()
    scribble(inputs)
    assert not watched.is_intact()


def test_other_queries_are_no_scribble_and_a_restored_cache_is_intact(inputs: CellInputs) -> None:
    watched = WatchedInputs(inputs, seed=0)
    question = inputs.decode.q.clone()
    ask_anew(inputs, torch.Generator().manual_seed(1))
    assert not torch.equal(question, inputs.decode.q)
    assert watched.is_intact()
    scribble_keys(inputs)
    watched.restore()
    assert watched.is_intact()


def test_overlap_is_the_share_of_pages_that_another_head_keeps_too() -> None:
    alike = torch.tensor([[[1, 4, 9], [1, 4, 9]]])
    apart = torch.tensor([[[1, 4, 9], [2, 5, 8]]])
    half = torch.tensor([[[1, 4, -1], [1, 5, -1]]])
    assert [selection_overlap(pages) for pages in (alike, apart, half)] == [1.0, 0.0, 0.5]
    three = torch.tensor([[[1, 2], [1, 3], [1, 3]]])
    assert selection_overlap(three) == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    assert selection_overlap(torch.tensor([[[1, 2]]])) is None
