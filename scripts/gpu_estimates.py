"""What the kernels should take on an H100, written down before any GPU: from bytes, launches and machine code.

    python scripts/gpu_estimates.py        kernel by kernel, launches per layer; needs Triton, and no GPU

An estimate to be held against the first measurement, and nothing more. A kernel is taken to last as long as its memory
round trips, its bytes at the data sheet's rate, and its instructions on one warp per scheduler, one after the other;
every instruction of the listing once, and those of the search as often as it steps.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinetics.engine.attention import AttentionSettings, DecodeBatch, PolicyAttention
from kinetics.engine.decoder import Decoder
from kinetics.engine.decoder_spec import DecoderSpec
from kinetics.engine.fused_decoder import FusedDecoder
from kinetics.engine.kv_cache import KvCache
from kinetics.engine.weights import empty_weights
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import BlockTopK
from kinetics_kernels import api
from kinetics_kernels.elementwise import api as elementwise
from kinetics_kernels.elementwise import gpu as elementwise_gpu
from kinetics_kernels.gpu_runtime.configs import FAST, PLAIN, use_variant
from kinetics_kernels.machine_code import cases
from kinetics_kernels.machine_code.compile import Launch, assembly_of, record_launches
from kinetics_kernels.shapes import PageSummaryKind

ARCH: Final = "sm_90"
MEMORY_BYTES_PER_S: Final = 3.0e12
"""What of the data sheet's 3.35e12 a read was seen to get on such devices by others."""
CLOCK_HZ: Final = 1.755e9
CYCLES_PER_INSTRUCTION: Final = 2.0
"""Of one warp alone on its scheduler: half of the instructions wait for the one before."""
MEMORY_TRIP_S: Final = 0.6e-6
CACHE_TRIP_S: Final = 0.25e-6
EDGE_S: Final = {PLAIN: 1.5e-6, FAST: 0.7e-6}
"""Between the last program of a kernel and the first of the next, inside a graph; the second launched ahead of time."""
SEARCH_STEPS: Final = {PLAIN: 15.8, FAST: 5.6}
"""Of the selection among 2,048 pages by halves and by eighths, mean over random scores."""
SEARCH_LOOP_INSTRUCTIONS: Final = 120
"""About what one step of the search takes; the listing does not say how often it is run."""
CONTEXT_LEN, NUM_KEPT_TOKENS = 32768, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEstimate:
    """One kernel: the trips to memory and to the cache that follow each other, what it reads, what it executes."""

    name: str
    memory_trips: int
    cache_trips: int
    num_bytes: int
    instructions: float

    @property
    def seconds(self) -> float:
        """All of it, one after the other."""
        waiting_s = self.memory_trips * MEMORY_TRIP_S + self.cache_trips * CACHE_TRIP_S
        computing_s = self.instructions * CYCLES_PER_INSTRUCTION / CLOCK_HZ
        return waiting_s + self.num_bytes / MEMORY_BYTES_PER_S + computing_s


def sparse_path(variant: str) -> list[KernelEstimate]:
    """Score, select and attend of Qwen3-8B, batch 1, at 32k with 1k kept."""
    launches = _sparse_launches(variant)
    heads, vector_bytes = cases.NUM_KV_HEADS, 2 * 128
    moved = {
        "score": (2, 0, CONTEXT_LEN // 16 * heads * vector_bytes),  # the page's id, its summary
        "select": (0, 2, 0),  # scores and block table, just written or read
        "split_decode": (1, 1, 2 * NUM_KEPT_TOKENS * heads * vector_bytes),  # the list, keys and values
        "merged_decode": (1, 4, 2 * NUM_KEPT_TOKENS * heads * vector_bytes),  # and partials out, counted, back
        "merge_splits": (0, 1, 0),
    }
    found = []
    for launch in launches:
        name = launch.kernel.__name__.removesuffix("_kernel")
        memory_trips, cache_trips, num_bytes = moved[name]
        instructions = float(len(assembly_of(launch, ARCH)))
        if name == "select":
            instructions += (SEARCH_STEPS[variant] - 1) * SEARCH_LOOP_INSTRUCTIONS
        found.append(
            KernelEstimate(
                name=name, memory_trips=memory_trips, cache_trips=cache_trips, num_bytes=num_bytes,
                instructions=instructions,
            )
        )  # fmt: skip
    return found


def sparse_path_s(variant: str) -> float:
    """Seconds of the whole path in a graph, the edge before each of its kernels counted."""
    kernels = sparse_path(variant)
    return sum(one.seconds for one in kernels) + len(kernels) * EDGE_S[variant]


def launches_per_layer(make: type[Decoder], variant: str) -> Counter[str]:
    """What one more layer of a sparse decode step launches, by name: kernels of ours, and operations of torch."""
    one, two = (_step_launches(make, variant, num_layers) for num_layers in (1, 2))
    return two - one


class _CountsTorch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function._schema.name.removeprefix("aten::")
        given, made = (_memories(tree) for tree in ((args, kwargs or {}), result))
        if "empty" not in name and (name.endswith("_") or made - given):
            self.launched[f"torch {name}"] += 1
        return result


def _memories(tree: Any) -> set[int]:
    """Where the tensors in it lie: what only views its arguments launches nothing."""
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return {tensor.untyped_storage()._cdata for tensor in tensors}


def _sparse_launches(variant: str) -> list[Launch]:
    calls: list[Callable[[], None]] = [
        lambda: cases.score(PageSummaryKind.MEAN),
        lambda: cases.select(CONTEXT_LEN // 16),
        cases.decode_sparse,
    ]
    with patch.object(cases, "BATCH", 1), record_launches(ARCH) as launches, use_variant(variant):
        for call in calls:
            call()
    return launches


def _step_launches(make: type[Decoder], variant: str, num_layers: int) -> Counter[str]:
    model = _with_layers(find_model("Qwen3-8B"), num_layers)
    bfloat16, summary = torch.bfloat16, PageSummaryKind.MEAN
    cache = KvCache(model, num_pages=2048, page_size=16, device="meta", dtype=bfloat16, summary_kind=summary)
    kept = BlockTopK(block_size=16, top_blocks=61, num_local=16, num_sink_tokens=16, keeps_partial_block=True)
    batch = DecodeBatch(
        block_table=torch.empty(1, 2048, dtype=torch.int32, device="meta"),
        seq_lens=torch.empty(1, dtype=torch.int32, device="meta"),
    )
    decoder = make(DecoderSpec.for_random_weights(model), empty_weights(model, device="meta", dtype=bfloat16))
    with ExitStack() as stack:
        stack.enter_context(patch.object(api, "resolve_backend", lambda *_, **__: "gpu"))
        stack.enter_context(patch.object(elementwise, "_backend", lambda *_: elementwise_gpu))
        for check in ("check_bounds", "check_scores"):  # there are no values
            stack.enter_context(patch.object(api, check, lambda *_, **__: None))
        launches = stack.enter_context(record_launches(ARCH))
        counts = stack.enter_context(_CountsTorch())
        stack.enter_context(use_variant(variant))
        token_ids = torch.empty(1, dtype=torch.int64, device="meta")
        decoder.decode(token_ids, batch, PolicyAttention(cache, AttentionSettings(policy=kept)))
    ours = Counter(launch.kernel.__name__.removesuffix("_kernel") for launch in launches)
    return ours + counts.launched


def _with_layers(model: ModelSpec, num_layers: int) -> ModelSpec:
    return replace(model, num_layers=num_layers)


def report() -> str:
    """The tables, as documents quote them."""
    lines = ["Sparse decode, Qwen3-8B, batch 1, context 32k, 1k kept, by kernel, estimated for an H100:", ""]
    lines += ["| variant | kernels, us each | edges, us | all, us |", "| --- | --- | --- | --- |"]
    for variant in (PLAIN, FAST):
        kernels = sparse_path(variant)
        each = ", ".join(f"{one.name} {1e6 * one.seconds:.1f}" for one in kernels)
        edges = f"{1e6 * len(kernels) * EDGE_S[variant]:.1f}"
        lines.append(f"| {variant} | {each} | {edges} | {1e6 * sparse_path_s(variant):.1f} |")
    lines += ["", "Launches of one layer of a sparse decode step:", "", "| engine | launches |", "| --- | --- |"]
    for title, make, variant in (("engine, plain", Decoder, PLAIN), ("engine_fused, fast", FusedDecoder, FAST)):
        lines.append(f"| {title} | {launches_per_layer(make, variant).total()} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
    for make, variant in ((Decoder, PLAIN), (FusedDecoder, FAST)):
        print(variant, dict(launches_per_layer(make, variant)), file=sys.stderr)
