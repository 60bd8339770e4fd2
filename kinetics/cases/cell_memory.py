"""What a cell of kernel cases holds at once, and which of them go where not all fit: peers are dropped, ours never.

Pure. Inputs are kept once per buffer, however many cases read them; so is the contiguous copy of keys and values that
peers without pages read. On a GPU several buffers take turns, so that none is read out of the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kinetics.cases.kernels import Case, Cell
from kinetics.cost.memory import MemoryNeed
from kinetics.specs.dtypes import element_bytes

MEMORY_SHARE: Final = 0.9
"""Of what is free: allocators round up, and libraries take workspaces."""
_ORACLE_BYTES: Final = 8
_ORACLE_COPIES: Final = 6
"""The proof widens keys and values of one head of one request to float64 and holds a few of its intermediates."""

_FINGERPRINT_BYTES: Final = 3 * 8
"""Per vector of one cache while it is fingerprinted: its sum, its weight and their product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one case needs besides the inputs, per buffer. `reads_copy`: it reads the contiguous copy, as others do."""

    case: Case
    own_bytes: int = 0
    reads_copy: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it is what the cell is there for."""
        return self.case.provider == "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPlan:
    """The cases to measure together, on so many buffers, and those that were dropped to make room."""

    kept: tuple[Holding, ...]
    dropped: tuple[Holding, ...]
    num_buffers: int


def cell_memory(cell: Cell, holdings: Sequence[Holding], *, num_buffers: int, eviction_bytes: int = 0) -> MemoryNeed:
    """Bytes of a cell with these cases, itemised."""
    slots = cell.batch * (cell.num_pages + 1)
    row_bytes = cell.model.num_kv_heads * cell.model.head_dim * element_bytes(cell.dtype)
    copy_bytes = 2 * cell.batch * cell.context_len * row_bytes
    return MemoryNeed(
        parts={
            "kv": num_buffers * 2 * slots * cell.page_size * row_bytes,
            "summaries": num_buffers * slots * row_bytes,
            "contiguous copy": num_buffers * copy_bytes if any(one.reads_copy for one in holdings) else 0,
            "providers": num_buffers * sum(one.own_bytes for one in holdings),
            "proof": _ORACLE_COPIES * cell.context_len * cell.model.head_dim * _ORACLE_BYTES,
            "fingerprint": _FINGERPRINT_BYTES * slots * cell.page_size * cell.model.num_kv_heads,
            "eviction": eviction_bytes,
        }
    )


def plan_cell(
    cell: Cell, holdings: Sequence[Holding], *, wanted_buffers: int, least_buffers: int, available_bytes: int
) -> CellPlan:
    """All cases on as many buffers as fit, up to `wanted_buffers`; below `least_buffers` peers go, the greediest first.

    Ours are kept whatever they need: whether they fit is for `MemoryNeed` to say.
    """
    kept, dropped = list(holdings), list[Holding]()
    while True:
        fitting = _fitting_buffers(cell, kept, available_bytes)
        peers = [one for one in kept if not one.is_ours]
        if fitting >= min(least_buffers, wanted_buffers) or not peers:
            break
        greediest = max(peers, key=lambda one: _bytes_saved(cell, kept, one))
        kept.remove(greediest)
        dropped.append(greediest)
    return CellPlan(kept=tuple(kept), dropped=tuple(dropped), num_buffers=max(1, min(wanted_buffers, fitting)))


def _fitting_buffers(cell: Cell, holdings: Sequence[Holding], available_bytes: int) -> int:
    fixed = cell_memory(cell, holdings, num_buffers=0).num_bytes
    per_buffer = cell_memory(cell, holdings, num_buffers=1).num_bytes - fixed
    return int((MEMORY_SHARE * available_bytes - fixed) // per_buffer)


def _bytes_saved(cell: Cell, kept: Sequence[Holding], one: Holding) -> tuple[int, int]:
    """What dropping a case frees, with all that read the copy if it does: of these the later one is dropped first."""
    rest = [other for other in kept if other is not one and not (one.reads_copy and other.reads_copy)]
    freed = cell_memory(cell, kept, num_buffers=1).num_bytes - cell_memory(cell, rest, num_buffers=1).num_bytes
    return (freed, kept.index(one))
