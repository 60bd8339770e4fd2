"""Stands in for `kinetics.measure.prepared_case` in revisions from before it: the same names, made of theirs.

Loaded by its path into a worker whose `kinetics` is such a revision, so that every import here names modules as they
were called then. Nothing else may import this file, and nothing in it follows a later rename.
"""

# mypy: disable-error-code="import-not-found, import-untyped, no-any-return, attr-defined"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

VERSION = 1
STEP = "step"

Spec = dict[str, Any]


class PreparedCase(NamedTuple):
    """A call to time, the proof that it is right, and how much work it is."""

    call: Callable[[], object]
    prove: Callable[[], float]
    work: dict[str, float]


def describe(device: str) -> dict[str, Any]:
    """What the machine is, as the revision sees it."""
    from kinetics import environment

    found = environment.resolve_device(device)
    door = {"torch_name": found.torch_name, "last_level_cache_bytes": environment.last_level_cache_bytes(found)}
    return environment.machine_facts(found) | door


def measure_ceilings(device: str, dtype: str) -> dict[str, float]:
    """The measured ceilings of the device."""
    from kinetics.environment import resolve_device
    from kinetics.probe import probe

    return asdict(probe(resolve_device(device), dtype).ceilings)


def prepare(spec: Spec, device: str, seed: int) -> PreparedCase:
    """Allocate one case of the revision with random inputs of this seed."""
    return _prepare_step(spec, device, seed) if spec["operation"] == STEP else _prepare_kernel(spec, device, seed)


def _prepare_kernel(spec: Spec, device: str, seed: int) -> PreparedCase:
    from kinetics import workloads
    from kinetics.grid import CacheState, Case, Cell, Operation

    cell = Cell(**_shared_fields(spec), cache_state=CacheState.COLD)
    case = Case(
        cell=cell, operation=Operation(spec["operation"]), provider=spec["provider"], kv_budget=spec["kv_budget"]
    )
    prepared = workloads.prepare(case, workloads.make_cell_inputs(cell, device=device, seed=seed))
    work = asdict(workloads.work_of(case)) | {"num_launches": workloads.NUM_LAUNCHES[case.operation]}
    return PreparedCase(call=prepared.call, prove=prepared.prove, work=work)


def _prepare_step(spec: Spec, device: str, seed: int) -> PreparedCase:
    from kinetics.steps.cost import step_parts
    from kinetics.steps.grid import StepCase, StepCell, StepPolicy
    from kinetics.steps.proof import prove_step
    from kinetics.steps.workload import make_step_workload

    num_layers = spec["num_layers"]
    cell = StepCell(**_shared_fields(spec), layer_counts=(num_layers,))
    case = StepCase(cell=cell, policy=StepPolicy(spec["policy"]), num_layers=num_layers, kv_budget=spec["kv_budget"])
    workload = make_step_workload(cell, device=device, seed=seed)
    parts = step_parts(case.shape).values()
    work = {name: sum(getattr(part, name) for part in parts) for name in ("num_bytes", "flop")}
    return PreparedCase(
        call=workload.call(num_layers, workload.attention_of(case)),
        prove=lambda: prove_step(workload, case),
        work=work | {"num_launches": case.shape.num_launches},
    )


def _shared_fields(spec: Spec) -> dict[str, Any]:
    from kinetics.model_specs import find_model

    fields = {name: spec[name] for name in ("batch", "context_len", "page_size", "device_kind", "dtype")}
    return fields | {"model": find_model(spec["model"]), "is_graph": spec["device_kind"] == "cuda"}
