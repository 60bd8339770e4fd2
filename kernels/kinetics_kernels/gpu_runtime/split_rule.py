"""How many splits of the context one decode launch gets: arithmetic on the host, from constants alone.

The rule never sees a sequence length, so a captured CUDA graph stays right when lengths change. The kernel cuts
each request by its true length: splits left without a token exit at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

MAX_SPLITS = 128
"""The merge holds one partial of each split in registers."""

STARTUP_TOKENS = 48
"""Time from a program's start to its first tile, in tokens streamed by one program of a full device."""

MERGE_TOKENS = 96
"""Time of the merge launch, in the same unit."""

NEAR_LEAST = 1.05
"""A modelled gain below this is not worth more partials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """Splits in the grid and the fewest tokens of one.

    `programs_per_head`: programs of one KV head that share out the batch's tokens, so that long requests are cut
    finer; None cuts every request on its own.
    """

    num_splits: int
    min_split_tokens: int
    programs_per_head: int | None


@lru_cache(maxsize=1024)
def plan_splits(
    *,
    batch: int,
    num_kv_heads: int,
    capacity_tokens: int,
    num_slots: int,
    min_split_tokens: int,
    tile_tokens: int,
    is_ragged: bool,
) -> SplitPlan:
    """The fewest splits whose modelled time, waves x (tokens of a split + start-up) + merge, is near the least.

    `capacity_tokens`: what one request can hold at most; `num_slots`: programs the device runs at once;
    `tile_tokens`: what the tokens of a split are rounded up to. A batch that may be ragged gets twice the grid, so
    that a long request can be cut finer than the average one.
    """
    most = max(1, min(MAX_SPLITS, capacity_tokens // min_split_tokens))
    rows = batch * num_kv_heads
    times = [
        _modelled_time(count, rows, capacity_tokens, num_slots=num_slots, tile_tokens=tile_tokens)
        for count in range(1, most + 1)
    ]
    best = 1 + next(index for index, time in enumerate(times) if time <= NEAR_LEAST * min(times))
    is_shared_out = is_ragged and batch > 1 and best > 1
    return SplitPlan(
        num_splits=min(most, 2 * best) if is_shared_out else best,
        min_split_tokens=min_split_tokens,
        programs_per_head=batch * best if is_shared_out else None,
    )


def explicit_plan(num_splits: int) -> SplitPlan:
    """As many splits as the caller asked for, however short they get.

    Raises: ValueError if the merge cannot hold them.
    """
    if num_splits > MAX_SPLITS:
        raise ValueError(f"num_splits must be at most {MAX_SPLITS}, got {num_splits}; pass 0 to let the rule choose")
    return SplitPlan(num_splits=num_splits, min_split_tokens=1, programs_per_head=None)


def _modelled_time(num_splits: int, rows: int, capacity_tokens: int, *, num_slots: int, tile_tokens: int) -> float:
    split_tokens = -(-capacity_tokens // (num_splits * tile_tokens)) * tile_tokens
    # Rounding up to whole tiles can leave the last splits without tokens: they exit at once and fill no slot.
    num_used = -(-capacity_tokens // split_tokens)
    waves = -(-rows * num_used // num_slots)
    merge = MERGE_TOKENS if num_splits > 1 else 0
    return waves * (split_tokens + STARTUP_TOKENS) + merge
