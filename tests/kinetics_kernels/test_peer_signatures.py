"""The installed peers take what they are called with: their sources say so, read without importing them.

Importing some of them needs a GPU; a signature does not. Runs where a peer is installed, and says so where none is.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

CALLS = {
    ("flash_attn", "flash_attn_interface.py", "flash_attn_with_kvcache"): (
        "q", "k_cache", "v_cache", "cache_seqlens", "block_table", "softmax_scale",
    ),
    ("fa3_fwd_interface", "", "flash_attn_with_kvcache"): (
        "q", "k_cache", "v_cache", "cache_seqlens", "softmax_scale", "num_splits",
    ),
    ("flash_attn_interface", "", "flash_attn_with_kvcache"): (
        "q", "k_cache", "v_cache", "cache_seqlens", "page_table", "softmax_scale", "num_splits",
    ),
    ("flash_attn", "cute/interface.py", "flash_attn_varlen_func"): (
        "q", "k", "v", "cu_seqlens_q", "max_seqlen_q", "max_seqlen_k", "seqused_k", "page_table", "softmax_scale",
        "num_splits",
    ),
    ("flashinfer", "decode.py", "BatchDecodeWithPagedKVCacheWrapper.__init__"): (
        "float_workspace_buffer", "kv_layout", "use_cuda_graph", "use_tensor_cores", "paged_kv_indptr_buffer",
        "paged_kv_indices_buffer", "paged_kv_last_page_len_buffer",
    ),
    ("flashinfer", "decode.py", "BatchDecodeWithPagedKVCacheWrapper.plan"): (
        "indptr", "indices", "last_page_len", "num_qo_heads", "num_kv_heads", "head_dim", "page_size", "q_data_type",
        "kv_data_type", "sm_scale",
    ),
    ("flashinfer", "topk.py", "top_k_page_table_transform"): (
        "input", "src_page_table", "lengths", "k", "dsa_graph_safe",
    ),
    ("flashinfer", "jit/topk.py", "gen_topk_module"): (),
    ("flashinfer", "jit/attention/modules.py", "gen_batch_prefill_module"): (
        "backend", "dtype_q", "dtype_kv", "dtype_o", "dtype_idx", "head_dim_qk", "head_dim_vo", "pos_encoding_mode",
        "use_sliding_window", "use_logits_soft_cap", "use_fp16_qk_reduction",
    ),
    ("flashinfer", "jit/attention/modules.py", "gen_batch_decode_module"): (
        "dtype_q", "dtype_kv", "dtype_o", "dtype_idx", "head_dim_qk", "head_dim_vo", "pos_encoding_mode",
        "use_sliding_window", "use_logits_soft_cap",
    ),
}  # fmt: skip
"""Parameters by (module, file below it, function), those that are passed by position first and in order."""
BY_POSITION = {
    "flash_attn_varlen_func": 3,
    "BatchDecodeWithPagedKVCacheWrapper.__init__": 2,
    "top_k_page_table_transform": 4,
}


@pytest.mark.parametrize(("module", "file", "function"), CALLS, ids=lambda part: part or "module")
def test_an_installed_peer_takes_what_it_is_called_with(module: str, file: str, function: str) -> None:
    path = source_of(module, file)
    if path is None or not path.is_file():
        pytest.skip(f"{module} is not installed, or has no {file}")
    taken = parameters(path, function)
    wanted = CALLS[module, file, function]
    assert set(wanted) <= set(taken)
    count = BY_POSITION.get(function, 7 if function.endswith(".plan") else 0)
    assert tuple(taken[:count]) == wanted[:count]


def source_of(module: str, file: str) -> Path | None:
    """Where the source of a module, or of a file in its folder, lies; None if it is not installed."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / file if file else Path(spec.origin)


def parameters(path: Path, name: str) -> list[str]:
    """Names of the parameters of a function or method, self apart."""
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    *classes, function = name.split(".")
    for one in classes:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == one)
    found = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == function]
    assert found, f"{path} has no {name}"
    arguments = found[-1].args
    return [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if one.arg != "self"]


def test_parameters_are_read_from_a_source(tmp_path: Path) -> None:
    source = tmp_path / "peer.py"
    source.write_text("class A:\n    def f(self, a, *, b=1): ...\ndef g(x, y=0): ...\n")
    assert parameters(source, "A.f") == ["a", "b"]
    assert parameters(source, "g") == ["x", "y"]
    with pytest.raises(AssertionError, match="has no h"):
        parameters(source, "h")
