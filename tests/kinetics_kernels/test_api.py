"""What the public functions refuse: every rule, its one line (subject, rule, got; remedy), and nothing else touched."""

from dataclasses import dataclass, replace

import pytest
import torch

from kinetics_kernels import api
from kinetics_kernels.backends import BACKEND_NAMES, load_backend
from kinetics_kernels.shapes import DecodeShape, PagedCache, PageSelection, PageSummary, PageSummaryKind
from kinetics_kernels.testing import make_inputs

PAGE = 16
KEPT = PageSelection(num_pages=3, num_sink_pages=1, num_local_pages=0)


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """Everything the public functions take, for two requests of 40 and 20 tokens."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    cache: PagedCache
    page_summary: PageSummary
    scores: torch.Tensor
    page_indices: torch.Tensor


@pytest.fixture
def t():
    shape = DecodeShape(batch=2, context_len=40, num_q_heads=8, num_kv_heads=2, head_dim=64, page_size=PAGE)
    x = make_inputs(shape, dtype=torch.float32, device="cpu", seed=0, seq_lens=[40, 20], table_width=4)
    summary = api.summarize_pages(x.cache, kind=PageSummaryKind.MEAN)
    scores = api.score_pages(x.q, x.cache, summary)
    pages = api.select_pages(scores, x.cache, selection=KEPT)
    new = torch.randn(2, 2, 64)
    return Tensors(q=x.q, k=new, v=new.clone(), cache=x.cache, page_summary=summary, scores=scores, page_indices=pages)


def dense(t, **options):
    return api.paged_decode(t.q, t.cache, **options)


def sparse(t, **options):
    return api.sparse_paged_decode(t.q, t.cache, t.page_indices, **options)


def topk(t, **options):
    return api.block_topk_decode(t.q, t.cache, t.page_summary, selection=KEPT, **options)


def append(t, **options):
    options = {"page_summary": t.page_summary} | options
    return api.append_kv(t.k, t.v, t.cache, **options)


def summarize(t, **options):
    return api.summarize_pages(t.cache, kind=PageSummaryKind.MEAN, **options)


def score(t, **options):
    return api.score_pages(t.q, t.cache, t.page_summary, **options)


def select(t, **options):
    return api.select_pages(t.scores, t.cache, selection=KEPT, **options)


ALL = [dense, sparse, topk, append, summarize, score, select]


def with_cache(t, **changes):
    return replace(t, cache=replace(t.cache, **changes))


def with_value(tensor, at, value):
    tensor = tensor.clone()
    tensor[at] = value
    return tensor


def with_summary(t, values, kind=PageSummaryKind.MEAN):
    return replace(t, page_summary=PageSummary(kind=kind, values=values))


def refused(call, t, **options):
    """The one line an unfit call is refused with."""
    with pytest.raises(ValueError, match=r".") as error:
        call(t, **options)
    line = str(error.value)
    assert "\n" not in line
    assert "got" in line
    assert line.count(";") == 1, f"no remedy in: {line}"
    return line


@pytest.mark.parametrize("call", ALL)
@pytest.mark.parametrize("backend", ["reference", "cpu", "auto"])
def test_every_function_takes_what_fits(t, call, backend):
    call(t, backend=backend)


@pytest.mark.parametrize("call", ALL)
@pytest.mark.parametrize(
    ("spoiled", "subject", "rule"),
    [
        (lambda c: {"seq_lens": c.seq_lens.long()}, "seq_lens", "int32, got int64"),
        (lambda c: {"seq_lens": c.seq_lens[:1]}, "seq_lens", r"(2,), got (1,)"),
        (lambda c: {"seq_lens": c.seq_lens[:, None]}, "seq_lens", r"(2,), got (2, 1)"),
        (lambda c: {"seq_lens": with_value(c.seq_lens, 1, 0)}, "seq_lens", "at least 1 for every request, got 0"),
        (lambda c: {"seq_lens": with_value(c.seq_lens, 0, 65)}, "seq_lens", "4 pages of 16 tokens, got 65"),
        (lambda c: {"seq_lens": c.seq_lens.to("meta")}, "seq_lens", "on cpu like the data, got meta"),
        (lambda c: {"block_table": c.block_table.long()}, "block_table", "int32, got int64"),
        (lambda c: {"block_table": c.block_table[0]}, "block_table", "[batch, max_pages], got shape (4,)"),
        (lambda c: {"block_table": with_value(c.block_table, (1, 1), -1)}, "block_table", "got -1"),
    ],
)
def test_every_function_refuses_an_unfit_table(t, call, spoiled, subject, rule):
    line = refused(call, with_cache(t, **spoiled(t.cache)))
    assert line.startswith(subject)
    assert rule in line


@pytest.mark.parametrize("call", ALL)
def test_a_page_id_beyond_the_cache_is_refused_where_it_is_used_and_only_there(t, call):
    line = refused(call, with_cache(t, block_table=with_value(t.cache.block_table, (0, 2), 999)))
    assert "block_table must hold page ids in 0..6 in the entries used, got 999" in line
    call(with_cache(t, block_table=with_value(t.cache.block_table, (0, 3), 999)))


@pytest.mark.parametrize("call", [dense, sparse, topk, append, score, select])
def test_every_function_with_a_batch_wants_one_row_of_the_table_per_request(t, call):
    assert "one row per request, 2, got 1" in refused(call, with_cache(t, block_table=t.cache.block_table[:1]))


@pytest.mark.parametrize("call", [dense, sparse, topk, score])
@pytest.mark.parametrize(
    ("spoiled", "rule"),
    [
        (lambda q: q[0], "q must be a non-empty [batch, num_q_heads, head_dim], got shape (8, 64)"),
        (lambda q: q[:0], "got shape (0, 8, 64)"),
        (lambda q: q[..., :32], "head_dim must be one of (64, 128), got 32"),
        (lambda q: q.repeat(1, 1, 2), "q must have the head_dim of the keys, 64, got 128"),
        (lambda q: q[:, :7], "1 to 16 query heads for each KV head, got 7 query and 2 KV heads"),
        (lambda q: q[:, :1], "got 1 query and 2 KV heads"),
        (lambda q: q.repeat(1, 5, 1), "got 40 query and 2 KV heads"),
        (lambda q: with_value(q, (1, 7, 63), float("nan")), "q must not hold NaN"),
        (lambda q: q.half(), "backend 'cpu' takes float32, got float16"),
        (lambda q: q.int(), "backend 'cpu' takes float32, got int32"),
    ],
)
def test_every_function_with_a_query_refuses_an_unfit_one(t, call, spoiled, rule):
    assert rule in refused(call, replace(t, q=spoiled(t.q)))


@pytest.mark.parametrize("call", ALL)
@pytest.mark.parametrize(
    ("spoiled", "rule"),
    [
        (lambda c: {"v_cache": c.v_cache[:3]}, "v_cache must have the shape of k_cache"),
        (lambda c: {"v_cache": c.v_cache.double()}, "v_cache must have the dtype of k_cache, float32, got float64"),
        (lambda c: {"v_cache": c.v_cache.to("meta")}, "v_cache must be on cpu like the data, got meta"),
        (lambda c: {"k_cache": c.k_cache[0]}, "k_cache must be a non-empty [num_physical_pages, page_size,"),
        (lambda c: {"k_cache": c.k_cache[:, :8]}, "page_size must be one of (16, 32, 64, 128, 256), got 8"),
    ],
)
def test_every_function_with_a_cache_refuses_an_unfit_one(t, call, spoiled, rule):
    assert rule in refused(call, with_cache(t, **spoiled(t.cache)))


@pytest.mark.parametrize("call", [dense, sparse, topk])
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"num_splits": -1}, "num_splits must not be negative, got -1"),
        ({"out": torch.empty(2, 8, 128)}, "out must have the shape of q, (2, 8, 64), got (2, 8, 128)"),
        ({"out": torch.empty(2, 8, 64, dtype=torch.float64)}, "out must have the dtype of q, float32, got float64"),
        ({"out": torch.empty(2, 8, 64, device="meta")}, "out must be on cpu like the data, got meta"),
    ],
)
def test_decode_functions_refuse_unfit_options(t, call, options, rule):
    assert rule in refused(call, t, **options)


@pytest.mark.parametrize("call", [score, topk, append])
@pytest.mark.parametrize(
    ("kind", "values", "rule"),
    [
        (
            PageSummaryKind.MEAN,
            (7, 2, 2, 64),
            "(MEAN) must be a non-empty [num_physical_pages, num_kv_heads, head_dim]",
        ),
        (PageSummaryKind.MIN_MAX, (7, 2, 64), "(MIN_MAX) must be a non-empty [num_physical_pages, 2, num_kv_heads,"),
        (PageSummaryKind.MIN_MAX, (7, 3, 2, 64), "must hold a minimum and a maximum per page, got 3 rows"),
    ],
)
def test_a_summary_of_the_wrong_rank_is_refused(t, call, kind, values, rule):
    assert rule in refused(call, with_summary(t, torch.zeros(values), kind))


@pytest.mark.parametrize("call", [score, topk, append])
def test_a_summary_of_another_cache_is_refused(t, call):
    line = refused(call, with_summary(t, torch.zeros(5, 2, 64)))
    assert "page_summary.values must match k_cache" in line
    assert "(7, 2, 64), got (5, 2, 64)" in line


@pytest.mark.parametrize("call", [score, topk, append])
def test_a_summary_of_another_dtype_is_refused(t, call):
    assert "page_summary.values must have the dtype" in refused(call, with_summary(t, torch.zeros(7, 2, 64).double()))


@pytest.mark.parametrize(
    ("spoiled", "rule"),
    [
        (lambda t: {"k": t.k[0]}, "k must be a non-empty [batch, num_kv_heads, head_dim]"),
        (lambda t: {"k": t.k[:, :1]}, "k must have [batch, num_kv_heads, head_dim] of the cache, (2, 2, 64), got"),
        (lambda t: {"k": t.k.double()}, "takes float32, got float64"),
        (lambda t: {"v": t.v[:1]}, "v must have the shape of k, (2, 2, 64), got (1, 2, 64)"),
        (lambda t: {"v": t.v.double()}, "v must have the dtype of k, float32, got float64"),
    ],
)
def test_appending_refuses_unfit_keys_and_values(t, spoiled, rule):
    before = t.cache.k_cache.clone()
    assert rule in refused(append, replace(t, **spoiled(t)))
    torch.testing.assert_close(t.cache.k_cache, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("scores", "rule"),
    [
        (lambda s: s[0], "scores must be a non-empty [batch, num_kv_heads, max_pages]"),
        (
            lambda s: s[..., :3],
            "scores must have one entry per KV head and page of the block table",
        ),
        (lambda s: with_value(s, (1, 1, 1), float("nan")), "scores must not hold NaN for a page the request has"),
    ],
)
def test_selection_refuses_unfit_scores(t, scores, rule):
    assert rule in refused(select, replace(t, scores=scores(t.scores)))


def test_selection_wants_scores_in_float32(t):
    assert refused(select, replace(t, scores=t.scores.double())).startswith("scores must be float32, got float64")


def test_nan_scores_past_the_pages_of_a_request_are_nobodys_business(t):
    assert torch.equal(select(replace(t, scores=with_value(t.scores, (1, 1, 3), float("nan")))), select(t))


def test_a_selection_too_small_for_its_forced_pages_is_refused():
    with pytest.raises(
        ValueError, match=r"num_pages must hold the sink, local and current pages \(4\), got num_pages=3"
    ):
        PageSelection(num_pages=3, num_sink_pages=1, num_local_pages=2)


@pytest.mark.parametrize(
    ("pages", "rule"),
    [
        (lambda p: p[0], "page_indices must be a non-empty [batch, num_kv_heads, num_pages]"),
        (lambda p: p[:, :1], "page_indices must have one list per request and KV head, (2, 2, 3), got (2, 1, 3)"),
        (lambda p: p.long(), "page_indices must be int32, got int64"),
        (lambda p: with_value(p, (0, 1, 0), -1), "page_indices must hold -1 only in the tail"),
        (lambda p: with_value(p, (0, 1, 2), -1), "page_indices must end in the current page"),
        (lambda p: with_value(p, (1, 0), -1), "page_indices must end in the current page"),
        (lambda p: with_value(p, (1, 0, 0), 999), "page_indices must hold page ids in 0..6, got 999"),
    ],
)
def test_sparse_decode_refuses_unfit_page_lists(t, pages, rule):
    assert rule in refused(sparse, replace(t, page_indices=pages(t.page_indices)))


@pytest.mark.parametrize("call", ALL)
def test_an_unknown_backend_is_refused_with_the_names_known(t, call):
    assert "backend must be 'auto' or one of ('reference', 'cpu', 'gpu'), got 'tpu'" in refused(call, t, backend="tpu")


@pytest.mark.parametrize("call", ALL)
def test_the_gpu_backend_refuses_host_tensors_and_says_how_to_interpret(t, call, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    line = refused(call, t, backend="gpu")
    assert "needs CUDA tensors, got device cpu" in line
    assert "TRITON_INTERPRET=1" in line


def test_a_backend_whose_module_is_not_installed_names_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name="triton")

    monkeypatch.setattr("importlib.import_module", missing)
    load_backend.cache_clear()
    with pytest.raises(RuntimeError, match=r"backend 'gpu' needs the module 'triton'.*backend='reference'"):
        load_backend("dense", "gpu")
    load_backend.cache_clear()


def test_every_backend_knows_every_operation():
    functions = {
        "dense": ["paged_decode"],
        "kv_cache": ["append_kv", "summarize_pages"],
        "block_topk": ["score_pages", "select_pages", "sparse_paged_decode"],
    }
    for backend in BACKEND_NAMES:
        if backend == "gpu":
            pytest.importorskip("triton", reason="triton is not installed")
        for operation, names in functions.items():
            assert all(callable(getattr(load_backend(operation, backend), name)) for name in names)


WITH_LSE = {
    dense: lambda t, **options: api.paged_decode_with_lse(t.q, t.cache, **options),
    sparse: lambda t, **options: api.sparse_paged_decode_with_lse(t.q, t.cache, t.page_indices, **options),
    topk: lambda t, **options: api.block_topk_decode_with_lse(t.q, t.cache, t.page_summary, selection=KEPT, **options),
}


@pytest.mark.parametrize("call", WITH_LSE)
def test_an_lse_comes_in_float32_beside_the_same_output(t, call):
    out = call(t)
    again, lse = WITH_LSE[call](t)
    assert torch.equal(out, again)
    assert lse.shape == (2, 8)
    assert lse.dtype == torch.float32
    halves = replace(
        with_cache(t, k_cache=t.cache.k_cache.half(), v_cache=t.cache.v_cache.half()),
        q=t.q.half(),
        page_summary=PageSummary(kind=PageSummaryKind.MEAN, values=t.page_summary.values.half()),
    )
    half_out, half_lse = WITH_LSE[call](halves, backend="reference")
    assert (half_out.dtype, half_lse.dtype) == (torch.float16, torch.float32)


@pytest.mark.parametrize("call", [dense, sparse, topk])
def test_a_softmax_scale_given_is_the_one_used(t, call):
    assert torch.equal(call(t, softmax_scale=64**-0.5), call(t))
    sharper = call(t, softmax_scale=1.0)
    assert not torch.allclose(sharper, call(t), atol=1e-3)
    torch.testing.assert_close(sharper, call(replace(t, q=t.q * 8)), rtol=1e-5, atol=1e-5)
