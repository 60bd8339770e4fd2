"""Providers that need no GPU: each is right given its own pages, and the naive path keeps the pages ours keeps."""

from pathlib import Path

import pytest
import torch

from kinetics_kernels import api, peers
from kinetics_kernels.providers import (
    BLOCK_TOPK,
    DENSE,
    DecodeRequest,
    ProviderCase,
    find_provider,
    provider_names,
    providers_of,
)
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummaryKind
from kinetics_kernels.testing import assert_dense_correct, assert_sparse_correct, make_inputs

CPU_PROVIDERS = {DENSE: ["ours", "torch_sdpa"], BLOCK_TOPK: ["ours", "naive_sparse"]}
SELECTION = PageSelection(num_pages=6, num_sink_pages=1, num_local_pages=2)


def request_of(context_len, operation, *, group_size=4, layout="nhd", kind=PageSummaryKind.MEAN):
    shape = DecodeShape(
        batch=2, context_len=context_len, num_q_heads=3 * group_size, num_kv_heads=3, head_dim=64, page_size=16
    )
    inputs = make_inputs(shape, dtype=torch.float32, device="cpu", seed=3, layout=layout)
    if operation == DENSE:
        return DecodeRequest(inputs=inputs)
    summary = api.summarize_pages(inputs.cache, kind=kind)
    return DecodeRequest(inputs=inputs, page_summary=summary, selection=SELECTION)


@pytest.mark.parametrize("operation", CPU_PROVIDERS)
def test_the_providers_of_an_operation_include_those_that_run_without_a_gpu(operation):
    assert set(CPU_PROVIDERS[operation]) <= {provider.name for provider in providers_of(operation)}
    assert provider_names()[0] == "ours"


def test_every_file_in_the_folder_of_peers_is_a_provider_of_that_name():
    files = {path.stem for path in Path(peers.__path__[0]).glob("*.py")} - {"__init__"}
    assert files == set(provider_names())
    for name in provider_names():
        provider = find_provider(name)
        assert provider.name == name
        assert provider.distribution
        assert set(provider.operations) <= {DENSE, BLOCK_TOPK}


def test_a_file_put_into_the_folder_is_found_without_another_change(tmp_path, monkeypatch):
    (tmp_path / "another.py").write_text("from kinetics_kernels.peers.torch_sdpa import PROVIDER\n")
    monkeypatch.setattr(peers, "__path__", [*peers.__path__, str(tmp_path)])
    provider_names.cache_clear()
    assert find_provider("another") is find_provider("torch_sdpa")
    monkeypatch.undo()
    provider_names.cache_clear()


@pytest.mark.parametrize("name", ["ours", "torch_sdpa"])
@pytest.mark.parametrize("layout", ["nhd", "hnd"])
@pytest.mark.parametrize("group_size", [1, 5])
@pytest.mark.parametrize("context_len", [1, 16, 97])
def test_dense_providers_are_within_the_error_budget(name, layout, group_size, context_len):
    request = request_of(context_len, DENSE, group_size=group_size, layout=layout)
    assert_dense_correct(find_provider(name).prepare(request).run(), request.inputs)


@pytest.mark.parametrize("name", ["ours", "naive_sparse"])
@pytest.mark.parametrize("context_len", [1, 64, 97, 111, 112])
def test_sparse_providers_are_within_the_error_budget_given_their_own_pages(name, context_len):
    request = request_of(context_len, BLOCK_TOPK)
    prepared = find_provider(name).prepare(request)
    assert_sparse_correct(prepared.run(), request.inputs, prepared.page_indices())


@pytest.mark.parametrize("context_len", [1, 97, 500])
def test_the_naive_path_keeps_the_pages_ours_keeps(context_len):
    request = request_of(context_len, BLOCK_TOPK)
    ours, naive = (find_provider(name).prepare(request).page_indices() for name in CPU_PROVIDERS[BLOCK_TOPK])
    assert torch.equal(ours, naive)


def test_a_prepared_call_reads_the_inputs_anew():
    request = request_of(97, BLOCK_TOPK)
    for name in CPU_PROVIDERS[BLOCK_TOPK]:
        prepared = find_provider(name).prepare(request)
        before = prepared.run().clone()
        request.inputs.q.neg_()
        assert not torch.equal(prepared.run(), before)


@pytest.mark.parametrize(
    ("operation", "name"), [(operation, name) for operation in CPU_PROVIDERS for name in CPU_PROVIDERS[operation]]
)
def test_after_a_refresh_a_prepared_call_answers_for_new_keys_values_and_queries_in_the_same_memory(operation, name):
    request = request_of(130, operation)
    prepared = find_provider(name).prepare(request)
    stale = prepared.run().clone()
    inputs = request.inputs
    for tensor in (inputs.k_cache, inputs.v_cache, inputs.q):
        tensor.neg_().mul_(0.5)
        if tensor is inputs.v_cache and prepared.refresh is not None:
            prepared.refresh()  # knows no query of the next call
    if operation == DENSE:
        assert_dense_correct(prepared.run(), inputs)
    else:
        request.page_summary.values.neg_().mul_(0.5)
        assert_sparse_correct(prepared.run(), inputs, prepared.page_indices())
    assert not torch.allclose(prepared.run(), stale)


def test_what_torch_sdpa_prepares_is_what_it_says_it_takes():
    shape = request_of(97, DENSE).inputs.shape
    case = ProviderCase(operation=DENSE, shape=shape, dtype="float32", device_type="cpu")
    keys_and_values = 2 * 2 * 97 * 3 * 64
    assert find_provider("torch_sdpa").prepared_bytes(case) == 4 * keys_and_values


def test_what_a_provider_cannot_run_comes_with_a_reason():
    shape = request_of(97, DENSE).inputs.shape
    case = ProviderCase(operation=DENSE, shape=shape, dtype="bfloat16", device_type="cpu")
    assert "must be one of float32, got bfloat16" in str(find_provider("ours").unavailable_for(case))


@pytest.mark.parametrize("name", ["torch_sdpa", "naive_sparse"])
def test_peers_refuse_contexts_of_different_lengths(name):
    shape = DecodeShape(batch=2, context_len=97, num_q_heads=4, num_kv_heads=2, head_dim=64, page_size=16)
    inputs = make_inputs(shape, dtype=torch.float32, device="cpu", seed=3, seq_lens=[97, 5])
    summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN)
    with pytest.raises(ValueError, match="equal"):
        find_provider(name).prepare(DecodeRequest(inputs=inputs, page_summary=summary, selection=SELECTION))


def test_an_unknown_provider_is_refused_with_the_names_known():
    with pytest.raises(ValueError, match=r"ours.*got 'nobody'"):
        find_provider("nobody")


def test_the_naive_path_keeps_the_best_pages_in_half_precision_too():
    shape = DecodeShape(batch=2, context_len=1024, num_q_heads=16, num_kv_heads=8, head_dim=128, page_size=16)
    inputs = make_inputs(shape, dtype=torch.bfloat16, device="cpu", seed=3)
    summary = api.summarize_pages(inputs.cache, kind=PageSummaryKind.MEAN, backend="reference")
    request = DecodeRequest(inputs=inputs, page_summary=summary, selection=SELECTION)
    found = find_provider("naive_sparse").prepare(request).page_indices()
    group = inputs.q.double().reshape(2, 8, 2, 128).mean(dim=2)
    table = inputs.block_table.long()
    scores = torch.einsum("bhd,bphd->bhp", group, summary.values.double()[table])
    is_kept = (table[:, None, :, None] == found.long()[:, :, None]).any(dim=-1)
    is_forced = torch.zeros(64, dtype=torch.bool)
    is_forced[[0, 61, 62, 63]] = True
    chosen = scores.masked_fill(~is_kept | is_forced, torch.inf).amin(dim=2)
    dropped = scores.masked_fill(is_kept | is_forced, -torch.inf).amax(dim=2)
    assert bool((dropped <= chosen + 1e-6).all())
