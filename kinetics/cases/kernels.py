"""Which cases a run measures: cells (shapes), cases (an operation by a provider in a cell), grids, order, ids.

Pure. A cell is what is measured together, interleaved; its cases share inputs. Cells come in order of information:
the corners of the grid first, then what refines them, so that a run cut short still spans it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from kinetics.specs.counts import _K, short
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.pages import num_pages_for
from kinetics.specs.policies import PolicyKind

NUM_SINK_PAGES = 1
NUM_LOCAL_PAGES = 1


class PageOperation(Enum):
    """What finding the pages to attend is made of. SEARCH is append, score and select, one after the other."""

    APPEND = "append"
    SCORE = "score"
    SELECT = "select"
    SEARCH = "search"

    @property
    def has_kv_budget(self) -> bool:
        """Whether the number of pages kept changes what it does."""
        return self in (PageOperation.SELECT, PageOperation.SEARCH)


Operation = PolicyKind | PageOperation
"""What one kernel case runs: attention under a policy, or a part of finding its pages."""

ATTENTION: Final = (PolicyKind.DENSE, PolicyKind.BLOCK_TOPK)
"""The policies that have kernels of their own."""

OPERATIONS: Final[Mapping[str, Operation]] = {one.value: one for one in (*ATTENTION, *PageOperation)}
"""Everything that a kernel case can run, by the name that result files and options give it."""


class CacheState(Enum):
    """Whether a timed call finds its data in the last-level cache; `kinetics.measure.timing` says how each is made."""

    COLD = "cold"
    WARM = "warm"


class GridSize(Enum):
    """Smoke proves that everything runs; quick is the default; full is for a night."""

    SMOKE = "smoke"
    QUICK = "quick"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One shape on one kind of device: what its cases have in common. `uses_cuda_graph`: replayed from a CUDA graph.

    `has_engine_layout`: on a GPU, the cache lies as the engine keeps it, not as peers expect it.
    """

    model: ModelSpec
    batch: int
    context_len: int
    page_size: int
    device_kind: str
    dtype: str
    cache_state: CacheState
    uses_cuda_graph: bool
    has_engine_layout: bool = False

    @property
    def num_pages(self) -> int:
        """Pages of one request, the last one possibly partial."""
        return num_pages_for(self.context_len, self.page_size)

    @property
    def kv_layout(self) -> Literal["nhd", "hnd"]:
        """Order of the cache in memory after the page: slots then heads, or heads then slots.

        In "hnd" a head's page is one run of memory, which sparse attention needs; on a GPU peers expect "nhd".
        """
        return "hnd" if self.device_kind == "cpu" or self.has_engine_layout else "nhd"

    @property
    def is_eager_on_gpu(self) -> bool:
        """Whether each call pays for its own launches on a device that could replay a graph."""
        return self.device_kind == "cuda" and not self.uses_cuda_graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operation by one provider in one cell. `kv_budget` in tokens; None where the operation has none.

    Raises: ValueError if the budget is not a whole number of pages or cannot hold the pages that are always kept.
    """

    cell: Cell
    operation: Operation
    provider: str
    kv_budget: int | None

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS.values():
            raise ValueError(f"operation must be one of {', '.join(OPERATIONS)}, got {self.operation.value}")
        if (self.kv_budget is not None) != self.operation.has_kv_budget:
            raise ValueError(
                f"{self.operation.value} must have a kv_budget exactly if it keeps pages, got {self.kv_budget}"
            )
        if self.kv_budget is not None:
            check_kv_budget(self.kv_budget, self.cell.page_size)

    @property
    def num_kept_pages(self) -> int:
        """Pages kept per KV head, those always kept included."""
        if self.kv_budget is None:
            budgeted = [name for name, operation in OPERATIONS.items() if operation.has_kv_budget]
            raise ValueError(f"{self.operation.value} keeps no pages; only {', '.join(budgeted)} do")
        return self.kv_budget // self.cell.page_size

    def __str__(self) -> str:
        cell = self.cell
        parts = [self.operation.value, self.provider, cell.model.slug, f"b{cell.batch}", f"c{short(cell.context_len)}"]
        parts += [f"k{short(self.kv_budget)}"] if self.kv_budget is not None else []
        parts += [f"p{cell.page_size}"]
        parts += ["warm"] if cell.cache_state is CacheState.WARM else []
        parts += ["eager"] if cell.is_eager_on_gpu else []
        parts += ["hnd"] if cell.has_engine_layout else []
        return "-".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridOptions:
    """What the user asked for. An empty sequence means the grid's own choice."""

    size: GridSize
    device_kind: str
    dtype: str
    models: Sequence[str] = ()
    batches: Sequence[int] = ()
    context_lens: Sequence[int] = ()
    kv_budgets: Sequence[int] = ()
    page_sizes: Sequence[int] = ()
    cache_states: Sequence[CacheState] = ()
    kv_layouts: Sequence[str] = ()
    num_devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tier:
    """One row of the table of grids: a plane of batch x context for one model, and other models at one point of it."""

    plane_model: str
    batches: tuple[int, ...]
    context_lens: tuple[int, ...]
    other_models: tuple[str, ...]
    other_batch: int
    other_context_len: int
    kv_budgets: tuple[int, ...]
    extra_context_len: int | None = None
    engine_layout: tuple[tuple[int, int], ...] = ()
    """Points of the plane measured with the engine's layout as well."""


_QWEN3 = ("Qwen3-0.6B", "Qwen3-4B", "Qwen3-14B", "Qwen3-32B", "Qwen3-30B-A3B")
_SMALL_HEADS = "Qwen2.5-0.5B"
"""Heads of 64 and seven to a KV head, as small models have them: least work per key, in groups that no power of two
divides."""
_TIERS = {
    ("cpu", GridSize.SMOKE): _Tier(
        plane_model="Qwen3-8B", batches=(2,), context_lens=(1 * _K, 4 * _K), other_models=("Qwen3-14B",),
        other_batch=1, other_context_len=2 * _K, kv_budgets=(512,)),
    ("cpu", GridSize.QUICK): _Tier(
        plane_model="Qwen3-8B", batches=(1, 4), context_lens=(1 * _K, 2 * _K, 4 * _K, 8 * _K, 16 * _K, 32 * _K),
        other_models=("Qwen3-0.6B", "Qwen3-14B", "Qwen3-32B", "Qwen3-30B-A3B", _SMALL_HEADS), other_batch=4,
        other_context_len=8 * _K, kv_budgets=(1024,), extra_context_len=1 * _K),
    ("cpu", GridSize.FULL): _Tier(
        plane_model="Qwen3-8B", batches=(1, 2, 4, 8),
        context_lens=(1 * _K, 2 * _K, 4 * _K, 8 * _K, 16 * _K, 32 * _K, 64 * _K), other_models=(*_QWEN3, _SMALL_HEADS),
        other_batch=4, other_context_len=16 * _K, kv_budgets=(256, 1024, 4096), extra_context_len=1 * _K),
    ("cuda", GridSize.SMOKE): _Tier(
        plane_model="Qwen3-8B", batches=(1, 8), context_lens=(1 * _K, 8 * _K), other_models=("Qwen3-14B",),
        other_batch=8, other_context_len=8 * _K, kv_budgets=(1024,)),
    ("cuda", GridSize.QUICK): _Tier(
        plane_model="Qwen3-8B", batches=(1, 8, 32, 64, 256), context_lens=(1 * _K, 4 * _K, 8 * _K, 32 * _K, 128 * _K),
        other_models=_QWEN3, other_batch=32, other_context_len=32 * _K, kv_budgets=(1024,), extra_context_len=1 * _K,
        engine_layout=((1, 32 * _K), (8, 32 * _K), (64, 32 * _K))),
    ("cuda", GridSize.FULL): _Tier(
        plane_model="Qwen3-8B", batches=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        context_lens=(1 * _K, 2 * _K, 4 * _K, 8 * _K, 16 * _K, 32 * _K, 64 * _K, 128 * _K), other_models=_QWEN3,
        other_batch=32, other_context_len=32 * _K, kv_budgets=(256, 1024, 4096), extra_context_len=1 * _K,
        engine_layout=((1, 8 * _K), (1, 32 * _K), (8, 32 * _K), (64, 8 * _K), (64, 32 * _K))),
}  # fmt: skip


def cells(options: GridOptions) -> list[Cell]:
    """The cells that `options` ask for, corners of the plane first."""
    tier = _TIERS[options.device_kind, options.size]
    return [
        Cell(
            model=find_model(model),
            batch=batch,
            context_len=context_len,
            page_size=page_size,
            device_kind=options.device_kind,
            dtype=options.dtype,
            cache_state=state,
            uses_cuda_graph=uses_cuda_graph,
            has_engine_layout=has_engine_layout,
        )
        for page_size in options.page_sizes or (16,)
        for state, uses_cuda_graph, has_engine_layout, (model, batch, context_len) in _points(options, tier)
    ]


def kv_budgets(options: GridOptions) -> tuple[int, ...]:
    """The KV budgets, in tokens, that `options` ask for."""
    return tuple(options.kv_budgets) or _TIERS[options.device_kind, options.size].kv_budgets


def corners_first(batches: Sequence[int], context_lens: Sequence[int]) -> list[tuple[int, int]]:
    """The plane of (batch, context): its four corners, then each point farthest from those already taken."""
    points = [(i, j) for i in range(len(batches)) for j in range(len(context_lens))]
    taken = [p for p in points if p[0] in (0, len(batches) - 1) and p[1] in (0, len(context_lens) - 1)]
    while len(taken) < len(points):
        rest = [p for p in points if p not in taken]
        taken.append(max(rest, key=lambda p: min(abs(p[0] - t[0]) + abs(p[1] - t[1]) for t in taken)))
    return [(batches[i], context_lens[j]) for i, j in taken]


def check_kv_budget(kv_budget: int, page_size: int) -> None:
    """Raises: ValueError unless the budget is a whole number of pages that holds those always kept."""
    forced = NUM_SINK_PAGES + NUM_LOCAL_PAGES + 1
    if kv_budget % page_size or kv_budget < forced * page_size:
        raise ValueError(
            f"kv_budget must be a multiple of page_size and at least {forced} pages, "
            f"got kv_budget={kv_budget} and page_size={page_size}"
        )


Point = tuple[str, int, int]


def _points(options: GridOptions, tier: _Tier) -> Iterator[tuple[CacheState, bool, bool, Point]]:
    """(cache state, whether replayed from a graph, whether in the engine's layout, point).

    All points cold; a few of them in the engine's layout too; one small point warm, and one eager.
    """
    uses_graph = options.device_kind == "cuda"
    for state in options.cache_states or (CacheState.COLD,):
        for is_engine in [uses_graph and layout == "hnd" for layout in options.kv_layouts] or [False]:
            for point in _unique(_plane_points(options, tier)):
                yield state, uses_graph, is_engine, point
    if options.cache_states or options.kv_layouts or is_narrowed(options):
        return
    for batch, context_len in tier.engine_layout:
        yield CacheState.COLD, uses_graph, True, (tier.plane_model, batch, context_len)
    if tier.extra_context_len:
        extra = (tier.plane_model, tier.batches[0], tier.extra_context_len)
        yield CacheState.WARM, uses_graph, False, extra
        if uses_graph:
            yield CacheState.COLD, False, False, extra


def _plane_points(options: GridOptions, tier: _Tier) -> Iterator[Point]:
    plane = corners_first(options.batches or tier.batches, options.context_lens or tier.context_lens)
    for model in options.models or (tier.plane_model,):
        yield from ((model, batch, context_len) for batch, context_len in plane)
    if not is_narrowed(options):
        yield from ((model, tier.other_batch, tier.other_context_len) for model in tier.other_models)


def is_narrowed(options: GridOptions) -> bool:
    """Whether the user chose shapes, so that the grid must add none of its own and drop none."""
    return bool(options.page_sizes or options.models or options.batches or options.context_lens)


def _unique(points: Iterable[Point]) -> list[Point]:
    return list(dict.fromkeys(points))
