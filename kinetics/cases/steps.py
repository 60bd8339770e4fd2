"""Which decode steps a run measures: cells, cases, grids and ids, as `kinetics.cases.kernels` has them for kernels.

Pure. A model that does not fit, or would take too long, is measured as one and as a few of its layers with its whole
head; the two give the full step by extrapolation. Where the full model is measured as well, that is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from kinetics.cases.kernels import (
    NUM_LOCAL_PAGES,
    NUM_SINK_PAGES,
    CacheState,
    Case,
    GridOptions,
    GridSize,
    check_kv_budget,
    kv_budgets,
)
from kinetics.cost.steps import StepShape
from kinetics.specs.counts import short
from kinetics.specs.dtypes import element_bytes
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import PolicyKind
from kinetics.specs.shard import shard_of

_K = 1024


STEP_POLICIES: Final = (PolicyKind.DENSE, PolicyKind.BLOCK_TOPK, PolicyKind.LOCAL)
"""How every layer of a step can attend. Top-k is none of them: it is found for free, on paper alone."""


PLAIN_ENGINE: Final = "engine"
FUSED_ENGINE: Final = "engine_fused"
STEP_PROVIDERS: Final = (PLAIN_ENGINE, FUSED_ENGINE)
"""The second computes the same by fewer launches; on a GPU both are measured, until a device has decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCell:
    """Steps measured together, interleaved: one model at one batch and context, with these numbers of its layers.

    `dtype` is that of the weights. `num_devices` ranks share the model, each on a device of its own.

    Raises: ValueError if they do not divide its heads or its width.
    """

    model: ModelSpec
    layer_counts: tuple[int, ...]
    batch: int
    context_len: int
    page_size: int
    device_kind: str
    dtype: str
    uses_cuda_graph: bool
    num_devices: int = 1

    def __post_init__(self) -> None:
        shard_of(self.model, self.num_devices)

    @property
    def kv_dtype(self) -> str:
        """The dtype of the cache: float32 on a CPU, whose attention kernels take nothing else."""
        return "float32" if self.device_kind == "cpu" else self.dtype

    @property
    def cache_state(self) -> CacheState:
        """Cold: a step streams its weights, and finds none of them in the cache."""
        return CacheState.COLD

    @property
    def largest(self) -> ModelSpec:
        """The model with as many layers as the cell needs at most.

        Partial models tie their embeddings, which changes no step and spares the memory of a table.
        """
        num_layers = max(self.layer_counts)
        is_partial = num_layers < self.model.num_layers
        return replace(self.model, num_layers=num_layers, ties_embeddings=self.model.ties_embeddings or is_partial)

    @property
    def shard(self) -> ModelSpec:
        """What one rank holds of it."""
        return shard_of(self.largest, self.num_devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCase:
    """One policy with one number of layers in one cell. `kv_budget` in tokens, all kept pages included; None if dense.

    `provider`: the plain engine, or that with fewer launches, one of `STEP_PROVIDERS`.

    Raises: ValueError if the budget is not a whole number of pages or cannot hold the pages that are always kept.
    """

    cell: StepCell
    policy: PolicyKind
    num_layers: int
    kv_budget: int | None
    provider: str = PLAIN_ENGINE

    def __post_init__(self) -> None:
        if self.policy not in STEP_POLICIES:
            names = ", ".join(policy.value for policy in STEP_POLICIES)
            raise ValueError(f"policy of a step must be one of {names}, got {self.policy.value}")
        if (self.kv_budget is not None) != self.policy.has_kv_budget:
            raise ValueError(f"a kv_budget belongs to sparse policies, got {self.kv_budget} for {self.policy.value}")
        if self.kv_budget is not None:
            check_kv_budget(self.kv_budget, self.cell.page_size)

    @property
    def is_full(self) -> bool:
        """Whether all layers of the model are in it."""
        return self.num_layers == self.cell.model.num_layers

    @property
    def num_scored_pages(self) -> int:
        """Pages kept for their score, besides sink, local and current ones."""
        assert self.policy is PolicyKind.BLOCK_TOPK
        assert self.kv_budget is not None
        return self.kv_budget // self.cell.page_size - NUM_SINK_PAGES - NUM_LOCAL_PAGES - 1

    @property
    def num_local_pages(self) -> int:
        """Pages kept because they are the latest, the current one apart."""
        assert self.kv_budget is not None
        is_local = self.policy is PolicyKind.LOCAL
        return self.kv_budget // self.cell.page_size - NUM_SINK_PAGES - 1 if is_local else NUM_LOCAL_PAGES

    @property
    def shape(self) -> StepShape:
        """The step as the prediction sees it."""
        cell = self.cell
        return StepShape(
            model=replace(cell.largest, num_layers=self.num_layers),
            batch=cell.batch,
            context_len=cell.context_len,
            page_size=cell.page_size,
            element_bytes=element_bytes(cell.dtype),
            kv_element_bytes=element_bytes(cell.kv_dtype),
            num_kept_pages=None if self.kv_budget is None else self.kv_budget // cell.page_size,
            num_summary_vectors=int(self.policy is PolicyKind.BLOCK_TOPK),
            num_devices=cell.num_devices,
        )

    def __str__(self) -> str:
        cell = self.cell
        fused = ["fused"] if self.provider == FUSED_ENGINE else []
        parts = ["step", *fused, self.policy.value, cell.model.slug, f"l{self.num_layers}", f"b{cell.batch}"]
        parts += [f"c{short(cell.context_len)}"]
        parts += [f"k{short(self.kv_budget)}"] if self.kv_budget is not None else []
        parts += [f"tp{cell.num_devices}"] if cell.num_devices > 1 else []
        parts += ["graph"] if cell.uses_cuda_graph else []
        return "-".join(parts)


BenchCase = Case | StepCase
"""Anything one benchmark test can be about."""

Point = tuple[str, tuple[int, ...], int, int]
"""Model, numbers of layers (empty: all of them), batch, context."""

_CPU_POINTS: tuple[Point, ...] = (
    ("Qwen3-0.6B", (1, 4, 28), 1, 2 * _K),
    ("Qwen3-0.6B", (), 1, 8 * _K),
    ("Qwen3-0.6B", (), 8, 2 * _K),
    ("Qwen3-8B", (1, 3), 1, 8 * _K),
    ("Qwen3-30B-A3B", (1, 2), 4, 4 * _K),
)
_CUDA_PLANE = ((1, 2 * _K), (1, 32 * _K), (64, 2 * _K), (8, 32 * _K), (8, 8 * _K), (32, 8 * _K))
"""The largest holds 262,144 tokens, 36 GiB of cache beside 15 GiB of weights of Qwen3-8B: it fits a card of 80 GB."""
_CUDA_MODELS = ("Qwen3-8B", "Qwen3-0.6B", "Qwen3-30B-A3B")
_POINTS: dict[tuple[str, GridSize], tuple[Point, ...]] = {
    ("cpu", GridSize.SMOKE): (("Qwen3-0.6B", (1, 4), 2, 2 * _K),),
    ("cpu", GridSize.QUICK): _CPU_POINTS,
    ("cpu", GridSize.FULL): (
        *_CPU_POINTS,
        *(("Qwen3-0.6B", (), batch, context) for batch, context in ((1, 16 * _K), (2, 8 * _K), (4, 4 * _K))),
        ("DeepSeek-R1-Distill-Qwen-1.5B", (1, 3), 4, 8 * _K),
        ("Qwen3-14B", (1, 2), 1, 8 * _K),
        ("Qwen3-32B", (1, 2), 1, 8 * _K),
    ),
    ("cuda", GridSize.SMOKE): (("Qwen3-0.6B", (), 8, 2 * _K),),
    ("cuda", GridSize.QUICK): tuple(("Qwen3-8B", (), batch, context) for batch, context in _CUDA_PLANE),
    ("cuda", GridSize.FULL): tuple(
        (model, (), batch, context) for model in _CUDA_MODELS for batch, context in _CUDA_PLANE
    ),
}


def step_cases(options: GridOptions) -> list[StepCase]:
    """The cases that `options` ask for, those that say most first.

    A model named on a CPU is measured whole; on a GPU each cell comes eager and replayed from a graph, then by the
    engine with fewer launches as well. Local attention, which costs what block top-k does without its search, is left
    to the full grid and to points that are named.
    """
    is_named = bool(options.models or options.batches or options.context_lens)
    leaves_local = options.size is not GridSize.FULL and not is_named
    policies = [policy for policy in STEP_POLICIES if not (leaves_local and policy is PolicyKind.LOCAL)]
    return [
        StepCase(cell=cell, policy=policy, num_layers=num_layers, kv_budget=budget, provider=provider)
        for cell in _cells(options)
        for num_layers in cell.layer_counts
        for policy in policies
        for budget in (kv_budgets(options) if policy.has_kv_budget else (None,))
        for provider in (STEP_PROVIDERS if cell.uses_cuda_graph else (PLAIN_ENGINE,))
    ]


def _cells(options: GridOptions) -> Iterator[StepCell]:
    for model_name, layer_counts, batch, context_len in _points(options):
        model = find_model(model_name)
        for page_size in options.page_sizes or (16,):
            for uses_cuda_graph in (True, False) if options.device_kind == "cuda" else (False,):
                yield StepCell(
                    model=model,
                    layer_counts=layer_counts or (model.num_layers,),
                    batch=batch,
                    context_len=context_len,
                    page_size=page_size,
                    device_kind=options.device_kind,
                    dtype=options.dtype,
                    uses_cuda_graph=uses_cuda_graph,
                    num_devices=options.num_devices,
                )


def _points(options: GridOptions) -> Iterator[Point]:
    points = _POINTS[options.device_kind, options.size]
    if not (options.models or options.batches or options.context_lens):
        yield from points
        return
    _, _, batch, context_len = points[0]
    for model in options.models or (points[0][0],):
        for one_batch in options.batches or (batch,):
            yield from ((model, (), one_batch, context) for context in options.context_lens or (context_len,))
