"""GPU peers on a machine that has none of them: what they say, what they would be called with, what cannot hurt us.

A stand-in takes a peer's published signature and computes with the reference, so the adapters are proved to pass the
right tensors under the right names; that the real kernels agree is for a machine with a GPU.
"""

from __future__ import annotations

import inspect
import sys
import time
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from kinetics_kernels import api
from kinetics_kernels.dense import reference
from kinetics_kernels.peer_kinds import child_probe, gpu_peer
from kinetics_kernels.peer_kinds.own_pages import own_pages, own_pages_bytes
from kinetics_kernels.peers import flash_attn_3, flash_attn_4, varlen_attn
from kinetics_kernels.peers.flashinfer import csr_pages
from kinetics_kernels.providers import (
    DENSE,
    DecodeRequest,
    PreparedDecode,
    ProviderCase,
    find_provider,
    provider_names,
)
from kinetics_kernels.shapes import DecodeShape, PagedCache, PageSelection, PageSummaryKind
from kinetics_kernels.testing import DecodeInputs, assert_dense_correct, assert_sparse_correct, make_inputs
from kinetics_kernels.unavailable import Unavailable

INSTALLED_WITH_TORCH = ["torch_sdpa_flash", "torch_sdpa_cudnn", "flex_attention", "varlen_attn"]
SEPARATE = ["flash_attn_2", "flash_attn_3", "flash_attn_4", "flashinfer", "flashinfer_sparse"]
GPU_PEERS = INSTALLED_WITH_TORCH + SEPARATE


def inputs_for(lengths: list[int], *, page_size: int = 16, group: int = 4) -> DecodeInputs:
    shape = DecodeShape(
        batch=len(lengths),
        context_len=max(lengths),
        num_q_heads=2 * group,
        num_kv_heads=2,
        head_dim=64,
        page_size=page_size,
    )
    return make_inputs(shape, dtype=torch.float32, device="cpu", seed=8, seq_lens=lengths)


def case_of(*, page_size: int = 16, group: int = 4, dtype: str = "bfloat16") -> ProviderCase:
    shape = DecodeShape(
        batch=1, context_len=64, num_q_heads=2 * group, num_kv_heads=2, head_dim=64, page_size=page_size
    )
    return ProviderCase(operation=DENSE, shape=shape, dtype=dtype, device_type="cuda")


def decode_reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, table: torch.Tensor, lens: torch.Tensor, scale: float
) -> torch.Tensor:
    out = torch.full_like(q, float("nan"))
    cache = PagedCache(k_cache=k, v_cache=v, block_table=table, seq_lens=lens)
    reference.paged_decode(q, cache, softmax_scale=scale, num_splits=0, out=out, lse=None)
    return out


def run_provider(name: str, inputs: DecodeInputs) -> torch.Tensor:
    return find_provider(name).prepare(DecodeRequest(inputs=inputs)).run()


def test_every_gpu_peer_is_registered() -> None:
    assert set(GPU_PEERS) <= set(provider_names())


@pytest.mark.parametrize("name", GPU_PEERS)
def test_on_a_cpu_each_peer_says_that_it_needs_cuda(name: str) -> None:
    assert "runs on cuda alone, not on cpu" in str(find_provider(name).unavailable_on("cpu"))


@pytest.mark.parametrize("name", SEPARATE)
def test_an_absent_peer_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_peer, "installed_version", lambda distribution: None)
    provider = find_provider(name)
    reason = str(provider.unavailable_on("cuda"))
    assert f"{provider.distribution} is not installed: {provider.install_hint}" in reason  # type: ignore[attr-defined]
    assert "absent" in provider.version()


@pytest.mark.parametrize(("capability", "is_refused"), [((8, 0), True), ((9, 0), False), ((10, 0), True)])
def test_a_peer_refuses_a_gpu_it_has_no_kernel_for(
    capability: tuple[int, int], is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_peer, "installed_version", lambda distribution: "3.0")
    monkeypatch.setattr(gpu_peer, "try_in_child", lambda name, _device: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    reason = find_provider("flash_attn_3").unavailable_on("cuda")
    assert (str(reason) == "needs compute capability 9.0 to 9.0") == is_refused


def test_an_installed_peer_whose_first_call_fails_is_unavailable_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu_peer, "installed_version", lambda distribution: "0.7")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(gpu_peer, "try_in_child", lambda name, _device: Unavailable(f"{name} crashed"))
    assert find_provider("flashinfer").unavailable_on("cuda") == Unavailable("flashinfer crashed")


def test_our_kernels_are_not_offered_for_timing_while_the_interpreter_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    ours = find_provider("ours")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert ours.unavailable_on("cuda") is None
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "would time the interpreter" in str(ours.unavailable_on("cuda"))
    assert ours.unavailable_on("cpu") is None


def test_shapes_a_peer_cannot_do_are_refused_with_the_rule() -> None:
    flex = find_provider("flex_attention")
    assert flex.unavailable_for(case_of(group=8)) is None
    assert str(flex.unavailable_for(case_of(group=5))) == "group_size must be a power of two, got 5"


@pytest.mark.parametrize("name", GPU_PEERS)
def test_single_precision_is_refused(name: str) -> None:
    assert "got float32" in str(find_provider(name).unavailable_for(case_of(page_size=256, dtype="float32")))


def with_kvcache(table_name: str) -> Any:
    def flash_attn_with_kvcache(
        q: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        *,
        cache_seqlens: torch.Tensor,
        softmax_scale: float,
        num_splits: int = 0,
        **tables: torch.Tensor,
    ) -> torch.Tensor:
        assert list(tables) == [table_name] * bool(table_name)
        assert num_splits == 0
        tables = tables or {table_name: torch.arange(len(q), dtype=torch.int32)[:, None]}
        assert table_name != "block_table" or k_cache.shape[1] % 256 == 0
        assert q.shape[1] == 1
        return decode_reference(q[:, 0], k_cache, v_cache, tables[table_name], cache_seqlens, softmax_scale)[:, None]

    return flash_attn_with_kvcache


@pytest.mark.parametrize("page_size", [16, 256])
@pytest.mark.parametrize(
    ("name", "module", "table_name", "is_built"),
    [
        ("flash_attn_2", "flash_attn", "block_table", False),
        ("flash_attn_3", "flash_attn_interface", "page_table", True),
        ("flash_attn_3", "fa3_fwd_interface", "", False),
    ],
)
def test_flash_attention_2_and_3_get_what_they_like_under_their_names(
    name: str, module: str, table_name: str, is_built: bool, page_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = ModuleType(module)
    stand_in.flash_attn_with_kvcache = with_kvcache(table_name)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module, stand_in)
    monkeypatch.setattr(flash_attn_3, "installed_version", lambda distribution: "3.0" if is_built else None)
    inputs = inputs_for([300, 31], page_size=page_size)
    prepared = find_provider(name).prepare(DecodeRequest(inputs=inputs))
    assert_dense_correct(prepared.run(), inputs)
    inputs.v_cache.mul_(2.0)
    if prepared.refresh is not None:
        prepared.refresh()
    assert_dense_correct(prepared.run(), inputs)
    is_copy = not table_name or (name == "flash_attn_2" and page_size == 16)
    assert (prepared.refresh is not None) == is_copy
    own_bytes = find_provider(name).prepared_bytes(case_of(page_size=page_size))
    assert (own_bytes > 0) == is_copy


@pytest.mark.parametrize("lengths", [[300, 31], [256, 1], [257, 512]])
@pytest.mark.parametrize("page_size", [16, 64])
def test_pages_of_a_peers_own_hold_what_ours_hold_and_are_shared(page_size: int, lengths: list[int]) -> None:
    inputs = inputs_for(lengths, page_size=page_size)
    one, other = own_pages(inputs, 256), own_pages(inputs, 256)
    assert one.k_cache.data_ptr() == other.k_cache.data_ptr()
    assert one.k_cache.shape[1] == 256
    assert torch.isfinite(one.k_cache).all()
    out = decode_reference(inputs.q, one.k_cache, one.v_cache, one.block_table, inputs.seq_lens, 64**-0.5)
    assert_dense_correct(out, inputs)
    held = 2 * one.k_cache.numel() * 2
    shape = inputs.shape
    case = ProviderCase(operation=DENSE, shape=shape, dtype="bfloat16", device_type="cuda")
    assert own_pages_bytes(case, 256) == held


@pytest.mark.parametrize("returns_lse", [True, False])
def test_flash_attention_4_gets_one_query_token_per_request(returns_lse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def flash_attn_varlen_func(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        cu_seqlens_q: torch.Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        seqused_k: torch.Tensor,
        page_table: torch.Tensor,
        softmax_scale: float,
        num_splits: int,
    ) -> Any:
        assert cu_seqlens_q.tolist() == list(range(len(q) + 1))
        assert num_splits == flash_attn_4.CHOOSE_SPLITS
        assert (max_seqlen_q, max_seqlen_k) == (1, 90)
        out = decode_reference(q, k, v, page_table, seqused_k, softmax_scale)
        return (out, None) if returns_lse else out

    stand_in = ModuleType("flash_attn.cute")
    stand_in.flash_attn_varlen_func = flash_attn_varlen_func  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
    monkeypatch.setitem(sys.modules, "flash_attn.cute", stand_in)
    inputs = inputs_for([90, 5])
    assert_dense_correct(run_provider("flash_attn_4", inputs), inputs)


def test_flashinfer_is_planned_outside_the_call_and_gets_its_compressed_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[SimpleNamespace] = []

    class Wrapper:
        _backend = "fa2"

        def __init__(self, workspace: torch.Tensor, kv_layout: str, *, use_tensor_cores: bool) -> None:
            assert workspace.dtype == torch.uint8
            assert not workspace.any()
            assert (kv_layout, use_tensor_cores) == ("NHD", True)

        def plan(
            self,
            indptr: torch.Tensor,
            indices: torch.Tensor,
            last_page_len: torch.Tensor,
            num_qo_heads: int,
            num_kv_heads: int,
            head_dim: int,
            page_size: int,
            **more: Any,
        ) -> None:
            assert more["q_data_type"] == more["kv_data_type"] == torch.float32
            assert (num_qo_heads, num_kv_heads, head_dim, page_size) == (8, 2, 64, 16)
            counts = indptr.diff().tolist()
            lens = torch.tensor(
                [(count - 1) * page_size + int(last) for count, last in zip(counts, last_page_len, strict=True)]
            )
            rows = torch.nn.utils.rnn.pad_sequence(indices.split(counts), batch_first=True)
            plans.append(SimpleNamespace(table=rows, lens=lens, scale=more["sm_scale"]))

        def run(self, q: torch.Tensor, caches: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            return decode_reference(q, *caches, plans[-1].table, plans[-1].lens, plans[-1].scale)

    stand_in = ModuleType("flashinfer")
    stand_in.BatchDecodeWithPagedKVCacheWrapper = Wrapper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", stand_in)
    inputs = inputs_for([100, 16, 1])
    provider = find_provider("flashinfer")
    prepared = provider.prepare(DecodeRequest(inputs=inputs))
    assert_dense_correct(prepared.run(), inputs)
    assert len(plans) == 1
    assert prepared.plan is not None
    prepared.plan()
    assert len(plans) == 2
    assert provider.version().endswith("(fa2, tensor cores)")


class TopKAndDecode:
    """What the sparse peer asks of FlashInfer, with the names and the meaning of its published signatures."""

    def __init__(self) -> None:
        self.plans: list[SimpleNamespace] = []

    def top_k_page_table_transform(
        self,
        input: torch.Tensor,  # noqa: A002 - its name there
        src_page_table: torch.Tensor,
        lengths: torch.Tensor,
        k: int,
        *,
        dsa_graph_safe: bool,
    ) -> torch.Tensor:
        assert dsa_graph_safe
        assert input.is_contiguous()
        assert input.shape == src_page_table.shape
        exists = torch.arange(input.shape[1])[None] < lengths[:, None]
        best = torch.topk(input.masked_fill(~exists, -torch.inf), k).indices
        return src_page_table.gather(1, best.flip(1)).to(torch.int32)  # in no particular order

    def BatchDecodeWithPagedKVCacheWrapper(  # noqa: N802 - a class there
        self, workspace: torch.Tensor, kv_layout: str, **buffers: Any
    ) -> Any:
        assert (kv_layout, buffers["use_cuda_graph"], buffers["use_tensor_cores"]) == ("NHD", True, True)
        indices = buffers["paged_kv_indices_buffer"]

        def plan(
            indptr: torch.Tensor,
            ids: torch.Tensor,
            last: torch.Tensor,
            q_heads: int,
            kv_heads: int,
            head_dim: int,
            page_size: int,
            **more: Any,
        ) -> None:
            assert kv_heads == 1
            assert len(ids) == indptr[-1] == len(indices)
            lens = (indptr.diff() - 1) * page_size + last
            self.plans.append(SimpleNamespace(lens=lens.to(torch.int32), scale=more["sm_scale"]))

        def run(q: torch.Tensor, caches: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            planned = self.plans[-1]
            return decode_reference(q, *caches, indices.view(len(q), -1), planned.lens, planned.scale)

        return SimpleNamespace(plan=plan, run=run)


@pytest.mark.parametrize("context_len", [300, 304])
def test_flashinfer_selects_and_attends_by_rows_of_one_kv_head(
    context_len: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = TopKAndDecode()
    monkeypatch.setitem(sys.modules, "flashinfer", stand_in)  # type: ignore[arg-type]
    inputs = inputs_for([context_len, context_len])
    summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN)
    kept = PageSelection(num_pages=6, num_sink_pages=1, num_local_pages=2)
    request = DecodeRequest(inputs=inputs, page_summary=summary, selection=kept)
    prepared = find_provider("flashinfer_sparse").prepare(request)
    for _ in range(2):
        out = prepared.run()
        assert prepared.page_indices is not None
        pages = prepared.page_indices()
        expected = api.select_pages(api.score_pages(inputs.q, inputs.cache, summary), inputs.cache, selection=kept)
        assert torch.equal(pages, expected)
        assert_sparse_correct(out, inputs, pages)
        inputs.q.normal_()
        inputs.v_cache.mul_(2.0)
        assert prepared.refresh is not None
        prepared.refresh()
    assert len(stand_in.plans) == 1


def test_flashinfer_refuses_rows_of_unequal_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flashinfer", TopKAndDecode())  # type: ignore[arg-type]
    for lengths in ([300, 200], [60, 60]):
        inputs = inputs_for(lengths)
        summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN)
        kept = PageSelection(num_pages=6, num_sink_pages=1, num_local_pages=2)
        with pytest.raises(ValueError, match="flashinfer_sparse needs equal seq_lens of at least 6 pages"):
            find_provider("flashinfer_sparse").prepare(
                DecodeRequest(inputs=inputs, page_summary=summary, selection=kept)
            )


def test_compressed_rows_hold_the_pages_in_use_alone() -> None:
    indptr, indices, last_page_len = csr_pages(inputs_for([33, 16]))
    assert indptr.tolist() == [0, 3, 4]
    assert indptr.dtype == indices.dtype == last_page_len.dtype == torch.int32
    assert len(indices) == 4
    assert last_page_len.tolist() == [1, 16]


def test_varlen_attn_gets_what_its_signature_names(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("torch.nn.attention.varlen")
    real = inspect.signature(module.varlen_attn)
    if missing := varlen_attn._missing_parameters():
        pytest.skip(f"varlen_attn of torch {torch.__version__} takes no {missing}")

    def stand_in(*args: Any, **options: Any) -> torch.Tensor:
        bound = real.bind(*args, **options).arguments
        assert bound["cu_seq_q"].tolist() == list(range(len(bound["query"]) + 1))
        assert (bound["max_q"], bound["enable_gqa"]) == (1, True)
        caches = (bound["key"], bound["value"])
        assert caches[0].shape[1] == 256
        return decode_reference(bound["query"], *caches, bound["block_table"], bound["seqused_k"], bound["scale"])

    monkeypatch.setattr(module, "varlen_attn", stand_in)
    inputs = inputs_for([90, 5])
    assert_dense_correct(run_provider("varlen_attn", inputs), inputs)


def test_a_torch_whose_varlen_attn_knows_no_pages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("torch.nn.attention.varlen")
    monkeypatch.setattr(module, "varlen_attn", lambda query, key, value, scale: None)
    assert "takes no block_table, seqused_k, enable_gqa" in str(find_provider("varlen_attn").unavailable_on("cuda"))


def test_sdpa_held_to_its_flash_backend_is_right() -> None:
    inputs = inputs_for([70, 70])
    assert_dense_correct(run_provider("torch_sdpa_flash", inputs), inputs)
    assert find_provider("torch_sdpa_flash").version().endswith("(flash_attention)")


def test_sdpa_held_to_a_backend_that_is_not_here_raises_instead_of_falling_back() -> None:
    with pytest.raises(RuntimeError):
        run_provider("torch_sdpa_cudnn", inputs_for([70, 70]))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_is_compiled_and_gets_one_query_token(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_nothing(function: Any, **options: Any) -> Any:
        compiled.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    inputs = inputs_for([70, 70])
    assert_dense_correct(run_provider("flex_attention", inputs), inputs)
    assert compiled[0] == {"dynamic": False, "fullgraph": True}


@pytest.mark.parametrize("name", ["torch_sdpa_flash", "torch_sdpa_cudnn", "flex_attention"])
def test_ragged_lengths_are_refused_where_they_would_need_a_mask(name: str) -> None:
    with pytest.raises(ValueError, match=f"seq_lens must be equal for {name}"):
        run_provider(name, inputs_for([70, 60]))


def refusal(code: str, *, timeout_s: float = 60) -> Unavailable | None:
    return child_probe.try_command([sys.executable, "-c", code], timeout_s=timeout_s)


def test_a_first_call_that_succeeds_is_no_refusal() -> None:
    assert refusal("print('fine')") is None


def test_a_crash_in_the_first_call_is_a_reason_not_our_end() -> None:
    assert "died of SIGABRT" in str(refusal("import os; os.abort()"))


def test_an_exception_in_the_first_call_is_named() -> None:
    assert str(refusal("raise ImportError('libcudart.so.13: not found')")).endswith(
        "ImportError: libcudart.so.13: not found"
    )


def test_a_silent_failure_is_named_by_its_exit_code() -> None:
    assert str(refusal("raise SystemExit(7)")).endswith("exit code 7")


def test_a_build_that_hangs_is_ended_with_its_compilers() -> None:
    hang = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    start_s = time.monotonic()
    assert "did not end within 2 s" in str(refusal(hang, timeout_s=2))
    assert time.monotonic() - start_s < 30


def test_the_reason_is_the_error_and_not_what_was_said_after_it() -> None:
    code = "import atexit; atexit.register(print, 'a warning at the end'); raise ValueError('no such thing')"
    assert str(refusal(code)).endswith("ValueError: no such thing")


@pytest.mark.parametrize("name", ["ours", "naive_sparse"])
def test_a_peer_is_checked_by_a_tiny_case_of_what_it_knows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = find_provider(name)
    case = replace(case_of(dtype="float32"), operation=provider.operations[-1], device_type="cpu")
    case = replace(case, shape=replace(case.shape, context_len=300))
    child_probe.decode_and_check(provider, case)
    prepare = type(provider).prepare
    monkeypatch.setattr(type(provider), "prepare", lambda self, request: _doubled(prepare(self, request)), raising=True)
    with pytest.raises(AssertionError):
        child_probe.decode_and_check(provider, case)


def _doubled(prepared: PreparedDecode) -> PreparedDecode:
    return replace(prepared, run=lambda: 2 * prepared.run())


def test_the_child_really_decodes_through_the_provider() -> None:
    """Its name is looked up before anything large is imported: a busy machine takes minutes for that."""
    child_probe.try_in_child.cache_clear()
    reason = str(child_probe.try_in_child("no_such_provider", "cuda"))
    assert "provider must be one of" in reason


def test_flex_attention_is_compiled_at_every_shape_and_once_for_all_buffers_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = torch._dynamo.config.recompile_limit
    compiled: list[int] = []  # shapes since torch last forgot all
    options: list[dict[str, Any]] = []

    def compile_one(function: object, **given: Any) -> object:
        compiled.append(1)
        options.append(given)
        assert len(compiled) <= limit, "torch would run it uncompiled"
        return lambda q, k, v, **_: q

    monkeypatch.setattr(torch, "compile", compile_one)
    monkeypatch.setattr(torch._dynamo, "reset", compiled.clear)
    peer = type(find_provider("flex_attention"))()
    q = torch.zeros(1, 8, 64)
    for context_len in range(64, 64 + 3 * limit):
        k = torch.zeros(1, 2, context_len, 64)
        calls = [peer.bind(q, k, k) for _ in range(3)]
        assert len(compiled) == 1
        assert all(call().shape == q.shape for call in calls)
    assert all(one["fullgraph"] and one["dynamic"] is False for one in options)
    assert len(options) == 3 * limit


def test_a_tree_that_nobody_installed_has_no_version_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert find_provider("ours").version() == "not installed"
