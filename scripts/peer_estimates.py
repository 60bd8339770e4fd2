"""What NVIDIA's estimator says of decode steps and of single operators: cases in, milliseconds out, both as JSON.

Runs in the environment of aiconfigurator-core, of which it uses the code; nothing of kinetics is imported.

    echo '{"steps": [...], "operators": [...]}' | python scripts/peer_estimates.py

A step: system, framework, version (empty: the newest), model, batch, context_len, num_devices; where they are not the
config's, gemm_mode and moe_mode (formats of weights by its names); cache_mode, bfloat16 by default. An operator:
operation, system, framework, version and the columns of its shape. Answers: version, steps and operators, as the cases
are ordered: {"parts": {name: ms}}, {"ms": time} or {"error": why}.
"""

from __future__ import annotations

import json
import logging
import sys
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from aiconfigurator_core.sdk import common, config, operations, perf_database
from aiconfigurator_core.sdk.backends.factory import get_backend
from aiconfigurator_core.sdk.models import get_model

ARCHITECTURES = {"deepseek-ai/DeepSeek-V3.2": "DeepseekV32ForCausalLM"}


@lru_cache(maxsize=2)
def database(system: str, framework: str, table_version: str, *, borrows: bool) -> Any:
    """The tables of one version; by default the estimator borrows rows that it lacks from other versions'."""
    table_version = table_version or perf_database.get_latest_database_version(system, framework)
    found = perf_database.get_database(system, framework, table_version, shared_layer=borrows)
    if found is None:
        raise ValueError(f"no tables of {framework} {table_version} on {system}")
    return found


@lru_cache(maxsize=64)
def model(path: str, framework: str, num_devices: int, gemm: str, moe: str, cache: str) -> Any:
    """A model shared by tensor parallelism, experts included; formats of weights as its config says, where empty."""
    settings = config.ModelConfig(
        tp_size=num_devices, moe_tp_size=num_devices, moe_ep_size=1, attention_dp_size=1,
        gemm_quant_mode=common.GEMMQuantMode[gemm] if gemm else None,
        moe_quant_mode=common.MoEQuantMode[moe] if moe else None, kvcache_quant_mode=common.KVCacheQuantMode[cache],
    )  # fmt: skip
    return get_model(path, settings, framework)


def step(case: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of every part of one decode step."""
    asked = config.RuntimeConfig(batch_size=case["batch"], isl=case["context_len"] - 1, osl=2)
    formats = (case.get("gemm_mode", ""), case.get("moe_mode", ""), case.get("cache_mode", "bfloat16"))
    found = get_backend(case["framework"]).run_static(
        model(case["model"], case["framework"], case["num_devices"], *formats),
        database(case["system"], case["framework"], case["version"], borrows=True),
        asked,
        "static_gen",
    )
    return {"parts": {name: float(ms) for name, ms in found.get_generation_latency_dict().items() if ms}}


def operator(case: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of one operator, by the tables of its version alone."""
    tables = database(case["system"], case["framework"], case["version"], borrows=False)
    return {"ms": float(_query(case, tables))}


def _query(case: dict[str, Any], tables: Any) -> Any:
    match case["operation"]:
        case "matmul":
            mode = common.GEMMQuantMode[case["gemm_dtype"]]
            return operations.GEMM("gemm", 1, case["n"], case["k"], mode)._engine_query(tables, x=case["m"])
        case "attention":
            one = operations.GenerationAttention(
                "attention", 1, case["num_heads"], case["num_key_value_heads"],
                common.KVCacheQuantMode[case["kv_cache_dtype"]], window_size=case["window_size"],
                head_size=case["head_dim"],
            )  # fmt: skip
        case "dsa":
            one = operations.GenerationDSAModule(
                "dsa", 1, case["num_heads"], common.KVCacheQuantMode[case["kv_cache_dtype"]],
                common.GEMMQuantMode[case["gemm_type"]], architecture=ARCHITECTURES[case["model"]],
            )  # fmt: skip
        case "experts":
            one = operations.MoE(
                "experts", 1, case["hidden_size"], case["inter_size"], case["topk"], case["num_experts"],
                case["moe_tp_size"], case["moe_ep_size"], common.MoEQuantMode[case["moe_dtype"]], case["distribution"],
                1, is_context=False,
            )  # fmt: skip
            return one._engine_query(tables, x=case["num_tokens"])
        case "all_reduce":
            one = operations.CustomAllReduce("sum", 1, case["message_size"], case["num_gpus"])
            return one._engine_query(tables, x=1)
        case other:
            raise ValueError(f"no query for {other}")
    return one._engine_query(tables, batch_size=case["batch_size"], s=case["isl"] + case["step"])


def answered(ask: Any, case: dict[str, Any]) -> dict[str, Any]:
    """The answer, or why there is none."""
    try:
        return ask(case)
    except Exception as error:  # whatever its code raises becomes one line of the comparison
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]}


def main() -> None:
    logging.disable(logging.CRITICAL)
    asked = json.load(sys.stdin)
    answers = {
        "version": version("aiconfigurator-core"),
        "steps": [answered(step, case) for case in asked["steps"]],
        "operators": [answered(operator, case) for case in asked["operators"]],
    }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
