"""The launches whose machine code is watched: every kernel in every branch that compiles differently.

Shapes are those of a Qwen3-8B layer, batch 8; tensors are `meta`, so they cost nothing and hold no values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from kinetics_kernels.block_topk import gpu as block_topk
from kinetics_kernels.dense import gpu as dense
from kinetics_kernels.elementwise import gpu as elementwise
from kinetics_kernels.gpu_runtime.configs import FAST, use_variant
from kinetics_kernels.kv_cache import gpu as kv_cache
from kinetics_kernels.machine_code.compile import Launch, record_launches
from kinetics_kernels.shapes import Layout, PagedCache, PageSelection, PageSummary, PageSummaryKind

BATCH, NUM_Q_HEADS, NUM_KV_HEADS = 8, 32, 8
HIDDEN_SIZE, INTERMEDIATE_SIZE = 4096, 12288
CAPACITY_TOKENS = 32768
NUM_PHYSICAL_PAGES = 2**17
"""Above 2 GiB of keys at any page size: no compiler may assume 32-bit offsets."""
NUM_SELECTED_PAGES = 64
E4M3 = torch.float8_e4m3fn


def watched_launches(arch: str) -> dict[str, Launch]:
    """Every watched launch by name, as the launchers make it for a GPU of this architecture."""
    named: dict[str, Launch] = {}
    for case, call in _cases().items():
        with record_launches(arch) as launches:
            call()
        for launch in launches:
            name = f"{case}/{launch.kernel.__name__.removesuffix('_kernel')}"
            # The second level of a selection is the same kernel once more.
            named[name if name not in named else f"{name}_2"] = launch
    return named


def _cases() -> dict[str, Callable[[], None]]:
    cases: dict[str, Callable[[], None]] = {}
    for kind in PageSummaryKind:
        cases[f"append/{kind.value}"] = partial(append, kind)
        cases[f"summarize/{kind.value}"] = partial(summarize, kind)
        cases[f"score/{kind.value}"] = partial(score, kind)
    for num_pages in (512, 2048, 8192, 16384):
        cases[f"select/{num_pages}_pages"] = partial(select, num_pages)
    for page_size in (16, 64, 256):
        cases[f"dense/page_{page_size}"] = partial(decode_dense, page_size=page_size)
    cases["dense/head_dim_64"] = partial(decode_dense, head_dim=64)
    cases["dense/one_split"] = partial(decode_dense, num_splits=1)
    for page_size in (16, 64):
        cases[f"sparse/page_{page_size}"] = partial(decode_sparse, page_size=page_size)
    cases["sparse/hnd"] = partial(decode_sparse, layout="hnd")
    mean = PageSummaryKind.MEAN
    fast: dict[str, Callable[[], None]] = {
        "append": partial(append, mean),
        "score": partial(score, mean),
        "select_2048": partial(select, 2048),
        "select_8192": partial(select, 8192),
        "dense": decode_dense,
        "dense_batch_1": partial(decode_dense, batch=1),
        "sparse": decode_sparse,
    }
    narrow: dict[str, Callable[[], None]] = {
        "append": partial(append, mean, dtype=E4M3),
        "summarize": partial(summarize, mean, dtype=E4M3),
        "dense": partial(decode_dense, dtype=E4M3),
        "sparse": partial(decode_sparse, dtype=E4M3),
        "sparse_page_64": partial(decode_sparse, page_size=64, dtype=E4M3),
    }
    between: dict[str, Callable[[], None]] = {
        "add_norm": add_norm,
        "first_norm": partial(add_norm, has_update=False),
        "norm_rotate": norm_rotate,
        "rotate": partial(norm_rotate, has_norm=False),
        "gated": gated,
    }
    cases |= {f"step/{name}": call for name, call in between.items()}
    fast |= {f"step_{name}": between[name] for name in ("add_norm", "norm_rotate", "gated")}
    cases |= {f"fast/{name}": partial(launched_fast, call) for name, call in fast.items()}
    return cases | {f"e4m3/{name}": call for name, call in narrow.items()}


def launched_fast(call: Callable[[], None]) -> None:
    """A call by the variant with every improvement."""
    with use_variant(FAST):
        call()


def append(kind: PageSummaryKind | None, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """Append one token per request, maintaining a summary of this kind."""
    k = _data(BATCH, NUM_KV_HEADS, 128)
    kv_cache.append_kv(k, k, _cache(dtype=dtype), page_summary=kind and _summary(kind))


def summarize(kind: PageSummaryKind, *, dtype: torch.dtype = torch.bfloat16) -> None:
    """Summarise every page."""
    kv_cache.summarize_pages(_cache(dtype=dtype), page_summary=_summary(kind))


def score(kind: PageSummaryKind) -> None:
    """Score every page."""
    cache = _cache()
    scores = _float32(BATCH, NUM_KV_HEADS, cache.max_pages)
    block_topk.score_pages(_query(), cache, _summary(kind), scores=scores)


def select(num_pages: int) -> None:
    """Select among this many pages."""
    block_topk.select_pages(
        _float32(BATCH, NUM_KV_HEADS, num_pages),
        _cache(max_pages=num_pages),
        selection=PageSelection(num_pages=NUM_SELECTED_PAGES, num_sink_pages=1, num_local_pages=1),
        page_indices=_int32(BATCH, NUM_KV_HEADS, NUM_SELECTED_PAGES),
    )


def decode_dense(
    *,
    page_size: int = 16,
    head_dim: int = 128,
    num_splits: int = 0,
    batch: int = BATCH,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Dense decode, with its merge when it is split."""
    max_pages = CAPACITY_TOKENS // page_size
    cache = _cache(page_size=page_size, head_dim=head_dim, max_pages=max_pages, batch=batch, dtype=dtype)
    q, lse = _query(head_dim=head_dim, batch=batch), _float32(batch, NUM_Q_HEADS)
    dense.paged_decode(q, cache, softmax_scale=0.1, num_splits=num_splits, out=q, lse=lse)


def decode_sparse(*, page_size: int = 16, layout: Layout = "nhd", dtype: torch.dtype = torch.bfloat16) -> None:
    """Decode over selected pages, with its merge."""
    cache, q = _cache(page_size=page_size, layout=layout, dtype=dtype), _query()
    page_indices = _int32(BATCH, NUM_KV_HEADS, NUM_SELECTED_PAGES)
    block_topk.sparse_paged_decode(q, cache, page_indices, softmax_scale=0.1, num_splits=0, out=q, lse=None)


def add_norm(*, has_update: bool = True) -> None:
    """Add a layer's answer to the hidden vectors of a batch, and norm them."""
    hidden = _data(BATCH, HIDDEN_SIZE)
    elementwise.add_norm(hidden, hidden if has_update else None, _data(HIDDEN_SIZE), epsilon=1e-6)


def norm_rotate(*, has_norm: bool = True) -> None:
    """Norm and rotate query and key heads where they lie among the values."""
    num_qk = NUM_Q_HEADS + NUM_KV_HEADS
    heads, angles = _data(BATCH, num_qk + NUM_KV_HEADS, 128)[:, :num_qk], _data(BATCH, 1, 128)
    elementwise.norm_and_rotate(heads, _data(num_qk, 128) if has_norm else None, angles, angles, epsilon=1e-6)


def gated() -> None:
    """Gate an MLP."""
    elementwise.gated(_data(BATCH, 2 * INTERMEDIATE_SIZE))


def _data(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device="meta")


def _float32(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32, device="meta")


def _int32(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.int32, device="meta")


def _query(*, head_dim: int = 128, batch: int = BATCH) -> torch.Tensor:
    return _data(batch, NUM_Q_HEADS, head_dim)


def _cache(
    *,
    page_size: int = 16,
    head_dim: int = 128,
    max_pages: int = CAPACITY_TOKENS // 16,
    batch: int = BATCH,
    layout: Layout = "nhd",
    dtype: torch.dtype = torch.bfloat16,
) -> PagedCache:
    inner = (page_size, NUM_KV_HEADS) if layout == "nhd" else (NUM_KV_HEADS, page_size)
    keys = torch.empty((NUM_PHYSICAL_PAGES, *inner, head_dim), dtype=dtype, device="meta")
    keys = keys if layout == "nhd" else keys.transpose(1, 2)
    scale = _float32(NUM_PHYSICAL_PAGES, NUM_KV_HEADS) if dtype == E4M3 else None
    return PagedCache(
        k_cache=keys,
        v_cache=keys,
        block_table=_int32(batch, max_pages),
        seq_lens=_int32(batch),
        k_scale=scale,
        v_scale=scale,
    )


def _summary(kind: PageSummaryKind) -> PageSummary:
    extrema = (2,) if kind is PageSummaryKind.MIN_MAX else ()
    return PageSummary(kind=kind, values=_data(NUM_PHYSICAL_PAGES, *extrema, NUM_KV_HEADS, 128))
