"""Predicted seconds of one kernel case, on this machine's measured ceilings or on an accelerator's data sheet.

A data sheet knows no launch overhead and no cache bandwidth: such a prediction is a lower bound, and says so.
"""

from __future__ import annotations

from typing import Any

from kinetics.environment import resolve_device
from kinetics.grid import CacheState, Case, Cell, Operation, parse_count
from kinetics.hardware import Precision, find_accelerator
from kinetics.model_specs import find_model
from kinetics.probe import probe
from kinetics.roofline import Ceilings, predict
from kinetics.workloads import NUM_LAUNCHES, work_of


def predict_case(
    *, model: str, operation: str, batch: str, context: str, kv_budget: str, page_size: int, on: str, device: str
) -> dict[str, Any]:
    """Work and predicted time of one case. Keys carry units.

    Raises: ValueError naming the value that is wrong.
    """
    if operation not in [known.value for known in Operation]:
        raise ValueError(
            f"--operation must be one of {', '.join(known.value for known in Operation)}, got {operation!r}"
        )
    name, dtype, ceilings, source = _ceilings(on, device)
    cell = Cell(
        model=find_model(model),
        batch=parse_count(batch),
        context_len=parse_count(context),
        page_size=page_size,
        device_kind="cpu" if dtype == "float32" else "cuda",
        dtype=dtype,
        cache_state=CacheState.COLD,
        is_graph=dtype != "float32",
    )
    wanted = Operation(operation)
    budget = parse_count(kv_budget) if wanted.has_kv_budget else None
    case = Case(cell=cell, operation=wanted, provider="ours", kv_budget=budget)
    work = work_of(case)
    predicted = predict(work, ceilings, num_launches=NUM_LAUNCHES[wanted])
    return {
        "case": str(case),
        "device": name,
        "ceilings_from": source,
        "dtype": dtype,
        "minimum_bytes": work.num_bytes,
        "flop": work.flop,
        "launch_s": predicted.overhead_s,
        "memory_s": predicted.memory_s,
        "compute_s": predicted.compute_s,
        "predicted_s": predicted.total_s,
        "bound": predicted.bound,
    }


def _ceilings(on: str, device: str) -> tuple[str, str, Ceilings, str]:
    """(device name, dtype, ceilings, where they come from)."""
    if on == "here":
        resolved = resolve_device(device)
        dtype = "float32" if resolved.kind == "cpu" else "bfloat16"
        return resolved.name, dtype, probe(resolved, dtype).ceilings, "measured now"
    accelerator = find_accelerator(on)
    rate = accelerator.memory_bytes_per_s
    ceilings = Ceilings(
        read_bytes_per_s=rate,
        cached_read_bytes_per_s=rate,
        copy_bytes_per_s=rate,
        matmul_flop_per_s=accelerator.flop_per_s(Precision.BF16),
        launch_s=0.0,
        cache_bytes=accelerator.l2_bytes or 0,
    )
    return accelerator.name, "bfloat16", ceilings, "data sheet, launches not counted: a lower bound"
