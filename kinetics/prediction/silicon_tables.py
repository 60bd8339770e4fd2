"""Measured operator latencies of production kernels, as the installed package `aiconfigurator-core` carries them.

The package is read as data: none of its code is imported. Each table becomes groups of rows that share a kernel, as
columns of the operation it measures; cells that repeat are taken by their median. What a table holds besides decoding
(prefill, more rows than a decode step has) is left out, and so is what `LEFT_OUT` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kinetics.prediction.silicon_cases import (
    THIN_ROWS,
    WIDEST_GROUP,
    Cases,
    all_reduce_cases,
    attention_cases,
    attention_variant,
    experts_cases,
    matmul_cases,
    state_cases,
)
from kinetics.prediction.silicon_module_tables import read_latent, read_msa
from kinetics.prediction.silicon_package import (
    WEIGHT_FORMATS,
    Kernel,
    Measured,
    Rows,
    column,
    median_cells,
    read_table,
    seconds_of,
)
from kinetics.prediction.silicon_part_tables import PARTS, read_part
from kinetics.specs.attention_layers import GroupedQueryAttention
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.weight_formats import find_weight_format

if TYPE_CHECKING:
    import pandas as pd

LEAST_CONTEXT: Final = 512
"""Below it a launch takes longer than the keys of dense attention do."""
MOST_ROWS: Final = 1024
"""Tokens of a decode step; more is prefill."""
LEFT_OUT: Final = {
    ("msa", "trtllm"): "one kernel name covers a sparse kernel and a dense fallback",
    ("matmul", "int8_wo"): "no format of weights here",
    ("matmul", "sq"): "no format of weights here",
    ("experts", "w4afp8"): "no format of weights here",
}
"""What the tables hold and the fits leave aside, and why."""
_NO_GATE: Final = frozenset({(2688, 1856), (1024, 2688), (2048, 5120)})
"""Hidden and expert width of models whose experts have no gate (Nemotron 3); others are told by the kernel's name."""


def read_measured(
    folder: Path,
    operation: str,
    *,
    systems: Sequence[str] = (),
    frameworks: Sequence[str] = (),
    only: Mapping[str, int] | None = None,
) -> Iterator[Measured]:
    """Groups of rows of one operation, of these systems and frameworks or of all; `only` rows with these values.

    Raises: DataFileError naming a table that lacks a column; ValueError for an operation that has no table.
    """
    if operation not in _TABLES:
        raise ValueError(f"operation must be one of {', '.join(_TABLES)}, got {operation!r}")
    pattern, columns, read = _TABLES[operation]
    for path in sorted((folder / "data").glob(pattern)):
        framework, version = path.parts[-3:-1]
        system = path.relative_to(folder / "data").parts[0]
        is_wanted = (not systems or system in systems) and (not frameworks or framework in frameworks)
        if not is_wanted or (operation, framework) in LEFT_OUT:
            continue
        table = read_table(path, columns, only=only or {})
        for name, cases, seconds in read(table):
            kernel = Kernel(system=system, framework=framework, version=version, name=name)
            yield Measured(kernel=kernel, cases=cases, seconds=seconds)


def _read_attention(table: pd.DataFrame) -> Rows:
    table = table.assign(
        window_size=table["window_size"].fillna(0),
        num_key_value_heads=table["num_key_value_heads"].where(table["num_key_value_heads"] > 0, table["num_heads"]),
    )
    table["context_len"] = table["isl"] + table["step"]
    table = table[table["context_len"] >= LEAST_CONTEXT]
    group = table["num_heads"] / table["num_key_value_heads"]
    table["kind"] = np.where(group == 1, 0, np.where(group <= WIDEST_GROUP, 1, 2))
    table["slides"] = table["window_size"] > 0
    order = ["batch_size", "context_len", "num_heads", "num_key_value_heads", "window_size"]
    for key, rows in table.groupby(["kernel_source", "kv_cache_dtype", "kind", "slides", "head_dim"]):
        rows = rows.sort_values(order)
        yield str(key[0]), _attention_rows(rows, str(key[1])), seconds_of(rows)


def _attention_rows(rows: pd.DataFrame, kv_cache_dtype: str) -> Cases:
    """Rows of one head_dim; each has heads of its own, which columns carry."""
    first = rows.iloc[0]
    window = int(first["window_size"]) or None
    dim = int(first["head_dim"])
    one = GroupedQueryAttention(num_q_heads=1, num_kv_heads=1, head_dim=dim, value_dim=dim, window=window)
    cases = attention_cases(
        one,
        find_cache_format(kv_cache_dtype),
        batch=column(rows, "batch_size"),
        context_len=column(rows, "context_len"),
    )
    q_heads, kv_heads = column(rows, "num_heads"), column(rows, "num_key_value_heads")
    windows = column(rows, "window_size")
    contexts = cases.columns["context_len"]
    keys = np.where(windows > 0, np.minimum(contexts, windows), contexts)
    variant = attention_variant(float(q_heads[0] / kv_heads[0]), dim, window)
    columns = {**cases.columns, "q_heads": q_heads, "kv_heads": kv_heads, "keys": keys}
    return replace(cases, variant=variant, columns=columns)


def _read_matmuls(table: pd.DataFrame) -> Rows:
    table = table[(table["m"] <= MOST_ROWS) & (table["n"] * table["k"] >= 2**16)]
    for key, rows in table.groupby(["kernel_source", "gemm_dtype"]):
        if key[1] not in WEIGHT_FORMATS:
            continue
        for is_thin in (True, False):
            some = rows[(rows["m"] <= THIN_ROWS) == is_thin].sort_values(["m", "n", "k"])
            if len(some):
                cases = matmul_cases(
                    find_weight_format(WEIGHT_FORMATS[key[1]]), rows=column(some, "m"), inputs=column(some, "k"),
                    outputs=column(some, "n"), is_thin=is_thin,
                )  # fmt: skip
                yield str(key[0]), cases, seconds_of(some)


def _read_experts(table: pd.DataFrame) -> Rows:
    table = table[table["num_tokens"] <= MOST_ROWS]
    sizes = zip(table["hidden_size"], table["inter_size"], strict=True)
    has_gate = np.array([pair not in _NO_GATE for pair in sizes], bool)
    table = table.assign(gated=has_gate & ~table["kernel_source"].str.contains("nongated").to_numpy(bool))
    order = ["num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"]
    for key, rows in table.groupby(["kernel_source", "moe_dtype", "distribution", "gated"]):
        if key[1] in WEIGHT_FORMATS and key[2] in ("balanced", "power_law_1.2"):
            rows = rows.sort_values(order)
            cases = experts_cases(
                find_weight_format(WEIGHT_FORMATS[key[1]]), rows=column(rows, "num_tokens"),
                hidden=column(rows, "hidden_size"), width=column(rows, "inter_size") / column(rows, "moe_tp_size"),
                experts=column(rows, "num_experts"), experts_per_token=column(rows, "topk"),
                expert_groups=column(rows, "moe_ep_size"), is_gated=bool(key[3]),
                routing="balanced" if key[2] == "balanced" else "skewed",
            )  # fmt: skip
            yield str(key[0]), cases, seconds_of(rows)


def _read_delta(operation: str) -> Callable[[pd.DataFrame], Rows]:
    def read(table: pd.DataFrame) -> Rows:
        table = table[table["phase"] == "generation"]
        for name, rows in table.groupby("kernel_source"):
            rows = rows.sort_values(["batch_size", "num_v_heads", "num_k_heads"])
            key_dim, value_dim = column(rows, "head_k_dim"), column(rows, "head_v_dim")
            values = column(rows, "num_v_heads")
            channels = 2 * column(rows, "num_k_heads") * key_dim + values * value_dim
            is_convolution = "conv" in str(name)
            state = (
                2 * channels * (column(rows, "d_conv") - 1) * 2 if is_convolution else 8 * values * key_dim * value_dim
            )
            part = "convolution" if is_convolution else "recurrence"
            cases = state_cases(operation, part, batch=column(rows, "batch_size"), heads=values, state_bytes=state)
            yield str(name), cases, seconds_of(rows)

    return read


def _read_mamba(table: pd.DataFrame) -> Rows:
    table = table[table["phase"] == "generation"]
    for kernel, rows in table.groupby("kernel_source"):
        rows = rows.sort_values(["batch_size", "nheads", "d_state"])
        heads, dim, size = (column(rows, name) for name in ("nheads", "head_dim", "d_state"))
        channels = heads * dim + 2 * column(rows, "n_groups") * size
        is_convolution = "conv" in str(kernel)
        state = 2 * channels * (column(rows, "d_conv") - 1) * 2 if is_convolution else 8 * heads * dim * size
        part = "convolution" if is_convolution else "recurrence"
        cases = state_cases("mamba2", part, batch=column(rows, "batch_size"), heads=heads, state_bytes=state)
        yield str(kernel), cases, seconds_of(rows)


def _read_all_reduce(table: pd.DataFrame) -> Rows:
    table = table[~table["kernel_source"].str.endswith("eager") & (table["message_size"] <= 2**26)]
    for name, rows in table.groupby("kernel_source"):
        rows = rows.sort_values(["num_gpus", "message_size"])
        sizes = 2 * column(rows, "message_size")  # the tables count elements of bf16
        yield str(name), all_reduce_cases(message_bytes=sizes, devices=column(rows, "num_gpus")), seconds_of(rows)


_SHAPE: Final = ("kernel_source", "kv_cache_dtype", "batch_size", "num_heads", "isl", "step")
_PART: Final = ("kernel_source", "kv_cache_dtype", "model", "batch_size", "isl", "step")
_DELTA: Final = (
    "kernel_source", "phase", "batch_size", "d_conv", "num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim",
)  # fmt: skip
_TABLES: Final[dict[str, tuple[str, tuple[str, ...], Callable[[Any], Rows]]]] = {
    "attention": (
        "*/attention/*/*/generation_attention_perf.parquet",
        (*_SHAPE, "num_key_value_heads", "head_dim", "window_size"),
        _read_attention,
    ),
    "mla": ("*/mla/*/*/mla_generation_module_perf.parquet", (*_SHAPE, "model", "gemm_type"), read_latent),
    "dsa": ("*/sparse_attention/*/*/dsa_generation_module_perf.parquet", (*_SHAPE, "model", "gemm_type"), read_latent),
    "msa": ("*/msa/*/*/msa_generation_module_perf.parquet", (*_SHAPE, "gemm_type"), read_msa),
    **{
        part: (
            f"*/sparse_attention/*/*/glm5_{table}_module_perf.parquet",
            (*_PART, *(("score_mode",) if part == "dsa_choice" else ())),
            read_part(part),
        )
        for part, table in zip(PARTS, ("mqa_logits", "topk", "dsa_attn"), strict=True)
    },
    "matmul": ("*/gemm/*/*/gemm_perf.parquet", ("kernel_source", "gemm_dtype", "m", "n", "k"), _read_matmuls),
    "experts": (
        "*/moe/*/*/moe_perf.parquet",
        (
            "kernel_source", "moe_dtype", "distribution", "num_tokens", "hidden_size", "inter_size", "topk",
            "num_experts", "moe_tp_size", "moe_ep_size",
        ),
        _read_experts,
    ),
    "gated_delta_net": ("*/linear_attention/*/*/gdn_perf.parquet", _DELTA, _read_delta("gated_delta_net")),
    "kda": ("*/kda/*/*/kda_perf.parquet", _DELTA, _read_delta("kda")),
    "mamba2": (
        "*/linear_attention/*/*/mamba2_perf.parquet",
        ("kernel_source", "phase", "batch_size", "d_state", "d_conv", "nheads", "head_dim", "n_groups"),
        _read_mamba,
    ),
    "all_reduce": (
        "*/comm/*/*/custom_allreduce_perf.parquet",
        ("kernel_source", "num_gpus", "message_size"),
        _read_all_reduce,
    ),
}  # fmt: skip


OPERATIONS: Final = tuple(_TABLES)
"""What can be fitted."""


def table_columns(operation: str) -> tuple[str, ...]:
    """The columns that are read of an operation's table, besides `latency`.

    Raises: ValueError for an operation that has no table.
    """
    if operation not in _TABLES:
        raise ValueError(f"operation must be one of {', '.join(_TABLES)}, got {operation!r}")
    return _TABLES[operation][1]


def groups_of(operation: str, table: pd.DataFrame) -> Rows:
    """Groups of rows of a table that lies in memory, repeated cells by their median."""
    return _TABLES[operation][2](median_cells(table, table_columns(operation)))


def table_paths(folder: Path, operation: str, *, system: str, framework: str, version: str) -> list[Path]:
    """The table of an operation, as one device and one version of a framework have it; none where they do not."""
    found = (folder / "data").glob(_TABLES[operation][0].replace("*", system, 1))
    return [path for path in found if path.parts[-3:-1] == (framework, version)]
