from __future__ import annotations

import warnings

import pytest

pytest.importorskip("triton")

from kinetics_kernels.gpu_runtime.configs import GPU_CONFIGS, gpu_config, nearest_arch
from kinetics_kernels.gpu_runtime.split_rule import MAX_SPLITS, explicit_plan, plan_splits


@pytest.mark.parametrize(
    ("arch", "nearest"),
    [
        ("sm_75", "sm_80"),
        ("sm_89", "sm_80"),
        ("sm_103", "sm_100"),
        ("sm_121", "sm_120"),
        ("gfx90a", "gfx942"),
        ("gfx950", "gfx942"),
    ],
)
def test_an_unknown_architecture_uses_its_nearest_relative_and_says_so(arch: str, nearest: str) -> None:
    nearest_arch.cache_clear()
    with pytest.warns(UserWarning, match=f"{arch} has no kernel configuration: {nearest}'s is used"):
        assert gpu_config(arch) is GPU_CONFIGS[nearest]


@pytest.mark.parametrize("arch", GPU_CONFIGS)
def test_a_known_architecture_uses_its_own_row_silently(arch: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gpu_config(arch) is GPU_CONFIGS[arch]


def test_an_unknown_vendor_is_refused() -> None:
    with pytest.raises(ValueError, match="arch must look like"):
        gpu_config("xe_hpc")


def plan(batch: int, capacity_tokens: int, **options: int) -> tuple[int, int | None]:
    made = plan_splits(
        batch=batch,
        num_kv_heads=8,
        capacity_tokens=capacity_tokens,
        num_slots=264,
        min_split_tokens=options.get("min_split_tokens", 256),
        tile_tokens=64,
        is_ragged=bool(options.get("is_ragged", True)),
    )
    return made.num_splits, made.programs_per_head


def test_a_full_device_is_not_split() -> None:
    assert [plan(batch, 32768)[0] for batch in (32, 64, 256)] == [1, 1, 1]


def test_one_request_is_cut_so_that_every_slot_has_work() -> None:
    num_splits, shared_out = plan(1, 131072)
    assert 8 * num_splits > 0.9 * 264
    assert shared_out is None


def test_a_short_context_is_not_cut_below_the_smallest_split() -> None:
    assert plan(1, 1024) == (4, None)
    assert plan(1, 255) == (1, None)
    assert plan(1, 1024, min_split_tokens=64, is_ragged=0)[0] > 4


def test_no_split_is_planned_that_rounding_to_whole_tiles_would_leave_empty() -> None:
    for capacity_tokens in (1024, 1040, 4096, 5000):
        num_splits, _ = plan(1, capacity_tokens, min_split_tokens=64, is_ragged=0)
        split_tokens = -(-capacity_tokens // (num_splits * 64)) * 64
        assert -(-capacity_tokens // split_tokens) == num_splits


def test_a_batch_that_may_be_ragged_gets_twice_the_grid_and_shares_out_its_tokens() -> None:
    num_splits, shared_out = plan(8, 32768)
    assert shared_out == 8 * num_splits // 2
    assert plan(8, 32768, is_ragged=0) == (num_splits // 2, None)


def test_no_plan_exceeds_what_the_merge_holds() -> None:
    assert plan(1, 2**24, min_split_tokens=16)[0] <= MAX_SPLITS
    assert explicit_plan(MAX_SPLITS).num_splits == MAX_SPLITS
    with pytest.raises(ValueError, match="num_splits must be at most 128, got 129"):
        explicit_plan(MAX_SPLITS + 1)
