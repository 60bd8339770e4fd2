"""Peers make room for ours and never the other way; nothing of the default GPU grid is refused that ours alone fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.cases.cell_memory import MEMORY_SHARE, Holding, cell_memory, plan_cell
from kinetics.cases.kernel_work import work_of
from kinetics.cases.kernels import CacheState, Case, GridOptions, GridSize, cells
from kinetics.measure.timing import num_rotating_buffers
from kinetics.specs.policies import PolicyKind
from kinetics.specs.units import GIBI

FREE_BYTES = int(78.5 * GIBI)
L2_BYTES = 50 * 2**20
COPIERS = ("torch_sdpa", "torch_sdpa_flash", "torch_sdpa_cudnn", "flex_attention")


def holding(cell, provider, *, own_bytes=0, reads_copy=False, operation=PolicyKind.DENSE, kv_budget=None):
    case = Case(cell=cell, operation=operation, provider=provider, kv_budget=kv_budget)
    return Holding(case=case, own_bytes=own_bytes, reads_copy=reads_copy)


def default_cells():
    return cells(GridOptions(size=GridSize.QUICK, device_kind="cuda", dtype="bfloat16"))


def holdings_of(cell):
    sparse = {"operation": PolicyKind.BLOCK_TOPK, "kv_budget": 1024}
    return [
        holding(cell, "ours"),
        holding(cell, "ours", **sparse),
        holding(cell, "naive_sparse", **sparse),
        *(holding(cell, name, reads_copy=True) for name in COPIERS),
    ]


def planned(cell, holdings, free_bytes=FREE_BYTES):
    smallest = min(work_of(one.case).num_bytes for one in holdings)
    wanted = 1 if cell.cache_state is CacheState.WARM else num_rotating_buffers(L2_BYTES, smallest)
    least = min(wanted, -(-2 * L2_BYTES // smallest))
    return plan_cell(cell, holdings, wanted_buffers=wanted, least_buffers=least, available_bytes=free_bytes)


def fits(cell, holdings, num_buffers, free_bytes=FREE_BYTES):
    return cell_memory(cell, holdings, num_buffers=num_buffers).num_bytes <= MEMORY_SHARE * free_bytes


@pytest.mark.parametrize("cell", default_cells(), ids=lambda cell: f"b{cell.batch}-c{cell.context_len}")
def test_no_cell_of_the_default_gpu_grid_is_refused_that_ours_alone_fits(cell):
    everybody = holdings_of(cell)
    ours = [one for one in everybody if one.is_ours]
    plan = planned(cell, everybody)
    assert [one for one in plan.kept if one.is_ours] == ours
    if fits(cell, ours, 1):
        assert fits(cell, plan.kept, plan.num_buffers)


def test_the_three_cells_that_peers_used_to_crowd_out_are_measured_with_all_of_them():
    large = [c for c in default_cells() if (c.batch, c.context_len) in {(32, 131072), (64, 131072), (256, 32768)}]
    assert len(large) == 3
    for cell in large:
        plan = planned(cell, holdings_of(cell))
        assert plan.dropped == ()
        assert fits(cell, plan.kept, plan.num_buffers)


def test_four_readers_of_the_copy_hold_one_copy():
    cell = default_cells()[0]
    one, four = ([holding(cell, name, reads_copy=True) for name in COPIERS[:count]] for count in (1, 4))
    assert cell_memory(cell, one, num_buffers=3) == cell_memory(cell, four, num_buffers=3)
    copy = cell_memory(cell, one, num_buffers=1).parts["contiguous copy"]
    assert copy == 2 * cell.batch * cell.context_len * cell.model.num_kv_heads * cell.model.head_dim * 2


def test_the_greediest_peer_goes_first_and_no_more_of_them_than_must():
    cell = next(c for c in default_cells() if (c.batch, c.context_len) == (32, 32768))
    small, large = holding(cell, "flashinfer", own_bytes=GIBI), holding(cell, "flash_attn_3", own_bytes=40 * GIBI)
    everybody = [holding(cell, "ours"), small, large]
    plan = plan_cell(cell, everybody, wanted_buffers=1, least_buffers=1, available_bytes=20 * GIBI)
    assert plan.dropped == (large,)
    assert plan.kept == (everybody[0], small)


SIZES = st.integers(0, 60 * GIBI)


@given(
    st.sampled_from(default_cells()), st.lists(SIZES, max_size=4), st.integers(0, 3), st.integers(1, 64),
    st.integers(1, 64), st.integers(0, 200 * GIBI),
)  # fmt: skip
def test_whatever_the_peers_need_ours_stay_and_what_is_kept_fits(cell, own, copiers, wanted, least, free_bytes):
    peers = [holding(cell, "flashinfer", own_bytes=size) for size in own]
    peers += [holding(cell, name, reads_copy=True) for name in COPIERS[:copiers]]
    ours = [holding(cell, "ours")]
    plan = plan_cell(cell, [*peers, *ours], wanted_buffers=wanted, least_buffers=least, available_bytes=free_bytes)
    assert ours[0] in plan.kept
    assert 1 <= plan.num_buffers <= wanted
    assert len(plan.kept) + len(plan.dropped) == len(peers) + 1
    if fits(cell, ours, 1, free_bytes):
        assert fits(cell, plan.kept, plan.num_buffers, free_bytes)
    if not plan.dropped:
        assert set(map(id, plan.kept)) == set(map(id, [*peers, *ours]))
