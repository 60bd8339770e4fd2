"""The door through which a regression gate sees a revision: its device, its ceilings, its cases ready to run.

A gate of another age imports this module of a checkout and nothing else of it. What lies behind may move freely; what
stands here is frozen: `VERSION`, the three functions, their arguments, and the meaning of what they return. Whoever
changes any of these raises `VERSION` and teaches `kinetics.gate.worker` the old one. Quantities are in SI units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

VERSION = 1

STEP = "step"
"""What a spec says in place of a kernel's operation when it is of a whole decode step."""

Spec = dict[str, Any]


class PreparedCase(NamedTuple):
    """One case on one set of inputs: the call to time, the proof that it is right, and how much work it is.

    `prove` returns the largest absolute error and raises AssertionError if the call computes something wrong. `work`
    holds num_bytes, flop and num_launches of one call.
    """

    call: Callable[[], object]
    prove: Callable[[], float]
    work: dict[str, float]


def describe(device: str) -> dict[str, Any]:
    """What a result file says of the device, with `device_kind`, `torch_name` and `last_level_cache_bytes`.

    Raises: ValueError if there is no such device here.
    """
    from kinetics.machine.device import last_level_cache_bytes, resolve_device
    from kinetics.machine.facts import machine_facts

    found = resolve_device(device)
    door = {"torch_name": found.torch_name, "last_level_cache_bytes": last_level_cache_bytes(found)}
    return machine_facts(found) | door


def measure_ceilings(device: str, dtype: str) -> dict[str, float]:
    """The measured ceilings of the device."""
    from kinetics.machine.device import resolve_device
    from kinetics.machine.probe import probe

    return asdict(probe(resolve_device(device), dtype).ceilings)


def prepare(spec: Spec, device: str, seed: int) -> PreparedCase:
    """Allocate what a case needs, with random inputs of this seed.

    `spec`: model, batch, context_len, kv_budget, page_size, device_kind, dtype; of a kernel also operation and
    provider, of a whole step the operation `STEP`, num_layers and policy.

    Raises: whatever the revision raises for a case that it cannot make.
    """
    return _prepare_step(spec, device, seed) if spec["operation"] == STEP else _prepare_kernel(spec, device, seed)


def _prepare_kernel(spec: Spec, device: str, seed: int) -> PreparedCase:
    from kinetics.cases.kernel_work import NUM_LAUNCHES, work_of
    from kinetics.cases.kernels import OPERATIONS, CacheState, Case, Cell
    from kinetics.measure.cell_inputs import make_cell_inputs
    from kinetics.measure.kernel_workload import prepare as prepare_kernel
    from kinetics.measure.oracle import Oracle

    cell = Cell(**_shared_fields(spec), cache_state=CacheState.COLD)
    case = Case(
        cell=cell, operation=OPERATIONS[spec["operation"]], provider=spec["provider"], kv_budget=spec["kv_budget"]
    )
    inputs = make_cell_inputs(cell, device=device, seed=seed)
    prepared = prepare_kernel(case, inputs)
    work = asdict(work_of(case)) | {"num_launches": NUM_LAUNCHES[case.operation]}
    return PreparedCase(call=prepared.call, prove=lambda: prepared.prove(prepared.call, Oracle(inputs)), work=work)


def _prepare_step(spec: Spec, device: str, seed: int) -> PreparedCase:
    from kinetics.cases.steps import StepCase, StepCell
    from kinetics.cost.steps import step_parts
    from kinetics.measure.step_proof import prove_step
    from kinetics.measure.step_workload import make_step_workload
    from kinetics.specs.policies import PolicyKind

    num_layers = spec["num_layers"]
    cell = StepCell(**_shared_fields(spec), layer_counts=(num_layers,))
    case = StepCase(cell=cell, policy=PolicyKind(spec["policy"]), num_layers=num_layers, kv_budget=spec["kv_budget"])
    workload = make_step_workload(cell, device=device, seed=seed)
    parts = step_parts(case.shape).values()
    work = {name: sum(getattr(part, name) for part in parts) for name in ("num_bytes", "flop")}
    return PreparedCase(
        call=workload.call(num_layers, workload.attention_of(case)),
        prove=lambda: prove_step(workload, case),
        work=work | {"num_launches": case.shape.num_launches},
    )


def _shared_fields(spec: Spec) -> dict[str, Any]:
    from kinetics.specs.models import find_model

    fields = {name: spec[name] for name in ("batch", "context_len", "page_size", "device_kind", "dtype")}
    return fields | {"model": find_model(spec["model"]), "uses_cuda_graph": spec["device_kind"] == "cuda"}
