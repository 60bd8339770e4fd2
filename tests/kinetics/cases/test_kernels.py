"""Grids hold what was asked for, corners first, under ids that can be typed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.cases.kernels import CacheState, Case, GridOptions, GridSize, cells, corners_first, kv_budgets
from kinetics.specs.counts import parse_count, short
from kinetics.specs.policies import PolicyKind


def options(**changes):
    return GridOptions(**({"size": GridSize.QUICK, "device_kind": "cpu", "dtype": "float32"} | changes))


def case(operation=PolicyKind.BLOCK_TOPK, kv_budget=1024, **changes):
    cell = cells(options(models=["Qwen3-8B"], batches=[8], context_lens=[32768], **changes))[0]
    return Case(cell=cell, operation=operation, provider="ours", kv_budget=kv_budget)


def test_an_id_names_operation_provider_model_batch_context_budget_and_page():
    assert str(case()) == "block_topk-ours-qwen3_8b-b8-c32k-k1k-p16"
    assert str(case(PolicyKind.DENSE, None)) == "dense-ours-qwen3_8b-b8-c32k-p16"
    assert str(case(PolicyKind.DENSE, None, cache_states=[CacheState.WARM])).endswith("-p16-warm")


@given(st.integers(1, 2**20))
def test_counts_read_back_as_written(count):
    assert parse_count(short(count)) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5k", "k", "many"])
def test_a_count_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="positive integer such as 1024 or 32k"):
        parse_count(text)


@pytest.mark.parametrize("kv_budget", [1000, 32])
def test_a_budget_must_be_whole_pages_and_hold_those_always_kept(kv_budget):
    with pytest.raises(ValueError, match=f"multiple of page_size and at least 3 pages, got kv_budget={kv_budget}"):
        case(kv_budget=kv_budget)


def test_a_budget_belongs_to_operations_that_keep_pages():
    with pytest.raises(ValueError, match="dense must have a kv_budget exactly if it keeps pages"):
        case(PolicyKind.DENSE, 1024)


@given(
    st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True),
    st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True),
)
def test_the_order_is_a_permutation_of_the_plane_that_starts_with_its_corners(batches, context_lens):
    order = corners_first(batches, context_lens)
    assert sorted(order) == sorted((b, c) for b in batches for c in context_lens)
    corners = {(b, c) for b in (batches[0], batches[-1]) for c in (context_lens[0], context_lens[-1])}
    assert set(order[: len(corners)]) == corners


@pytest.mark.parametrize("size", GridSize)
@pytest.mark.parametrize("device_kind", ["cpu", "cuda"])
def test_every_grid_has_unique_cells_and_budgets_that_fit(size, device_kind):
    found = cells(options(size=size, device_kind=device_kind))
    assert len(set(found)) == len(found)
    for budget in kv_budgets(options(size=size, device_kind=device_kind)):
        assert budget % found[0].page_size == 0


@pytest.mark.parametrize("size", [GridSize.QUICK, GridSize.FULL])
def test_the_grids_of_a_cpu_hold_small_heads_in_an_odd_group(size):
    small = [cell for cell in cells(options(size=size, device_kind="cpu")) if cell.model.head_dim == 64]
    assert [(cell.model.num_q_heads, cell.model.num_kv_heads, cell.batch) for cell in small] == [(14, 2, 4)]


def test_a_filter_narrows_the_grid_to_exactly_what_was_asked():
    found = cells(options(models=["Qwen3-14B"], batches=[1, 16], context_lens=[4096]))
    assert {(cell.model.name, cell.batch, cell.context_len) for cell in found} == {
        ("Qwen3-14B", 1, 4096),
        ("Qwen3-14B", 16, 4096),
    }


def test_a_gpu_grid_has_one_warm_one_eager_and_a_few_cells_as_the_engine_lays_them_out_and_a_cpu_grid_one_warm():
    for device_kind, expected in (("cuda", ["eager", "hnd", "hnd", "hnd", "warm"]), ("cpu", ["warm"])):
        names = [
            str(Case(cell=cell, operation=PolicyKind.DENSE, provider="ours", kv_budget=None))
            for cell in cells(options(device_kind=device_kind))
        ]
        assert sorted(name.split("-")[-1] for name in names if not name.endswith("p16")) == expected


def test_the_engines_layout_is_measured_beside_the_peers_at_the_same_points():
    found = cells(options(device_kind="cuda", dtype="bfloat16"))
    engine = [cell for cell in found if cell.has_engine_layout]
    assert {cell.kv_layout for cell in engine} == {"hnd"}
    for cell in engine:
        assert replace(cell, has_engine_layout=False) in found
    assert not any(cell.has_engine_layout for cell in cells(options(device_kind="cuda", batches=[8])))
    both = cells(options(device_kind="cuda", batches=[8], context_lens=[4096], kv_layouts=["nhd", "hnd"]))
    assert [cell.kv_layout for cell in both] == ["nhd", "hnd"]
