"""How a report charges answers: the law itself, compute alone, the larger of both; as a request asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kinetics.cost.answers import Combine, CostOptions
from kinetics.cost.published import INTENSITY, TERA_EFLOP_PER_B200_S
from kinetics.cost.query import Mode
from kinetics.law.cost_models import CostModelOf, EFlopCost, MeasuredCost, PublishedCost, counted_as_published
from kinetics.law.measured_costs import read_measured_device
from kinetics.law.request import LawRequest
from kinetics.law.silicon_costs import DEFAULT_BATCH, Edge, SiliconPricing
from kinetics.specs.hardware import Precision, find_accelerator
from kinetics.specs.models import ModelSpec
from kinetics.specs.units import TERA

LOW, HIGH = "_at_low", "_at_high"
"""What the ends of a band of predicted costs are called beside the law itself."""
_PAPERS_DEVICE = "B200 as the paper rates it (4,500 TFLOP/s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charging:
    """The three laws that a report compares, and how they are described.

    `law` is the law itself; `flops` charges compute alone; `hidden` charges the larger of compute and memory.
    `smooths`: oracle curves carry the published moving average. `low` and `high`: the law at the ends of the band of
    predicted seconds, which `silicon` makes; None where costs are counted.
    """

    law: CostModelOf
    flops: CostModelOf
    hidden: CostModelOf
    description: str
    device: str
    tera_eflop_per_s: float
    smooths: bool = False
    low: CostModelOf | None = None
    high: CostModelOf | None = None
    silicon: SiliconPricing | None = None

    @property
    def edges(self) -> dict[str, CostModelOf]:
        """The ends of the band by name; empty without one."""
        return {LOW: self.low, HIGH: self.high} if self.low and self.high else {}


def charging_of(request: LawRequest) -> Charging:
    """The laws that the options ask for.

    Raises: ValueError if they ask for two kinds at once; DataFileError for a result file that cannot be used.
    """
    if sum((bool(request.on), request.measured is not None, request.mode is Mode.PAPER)) > 1:
        raise ValueError("--on, --measured and --mode paper exclude one another, got more than one; choose one")
    if request.framework and not request.on:
        raise ValueError(f"--framework {request.framework} needs a device, got none; say --on H200")
    if request.num_devices != 1 and not request.framework:
        raise ValueError("--tp needs --framework, got none: counted costs are the same on any number of devices")
    if request.framework:
        return _as_predicted(request)
    if request.measured is not None:
        return _as_measured(request.measured, request)
    return _as_published() if request.mode is Mode.PAPER else _as_counted(request)


def _as_counted(request: LawRequest) -> Charging:
    intensity, rate, device = INTENSITY, TERA_EFLOP_PER_B200_S, _PAPERS_DEVICE
    if request.on:
        accelerator = find_accelerator(request.on)
        intensity = accelerator.intensity(Precision.BF16)
        rate = accelerator.bf16_flop_per_s / TERA
        device = f"{accelerator.name}, dense bf16"
    options = CostOptions(batch=request.batch, num_dense_layers=request.num_dense_layers)
    to_longest = request.reads_prompt_to_longest
    return Charging(
        law=lambda model: EFlopCost(
            model=model, intensity=intensity, options=options, reads_prompt_to_longest=to_longest
        ),
        flops=lambda model: EFlopCost(model=model, intensity=0.0, options=options),
        hidden=lambda model: EFlopCost(model=model, intensity=intensity, options=options, combine=Combine.MAX),
        description=f"exact counts, intensity {intensity:.4g} FLOP/byte, {request.num_dense_layers} dense layers, "
        f"weights shared by {request.batch or 'infinitely many'} answers, matmul weights per token, "
        f"dense prompts read to the {'longest' if to_longest else 'mean'} length",
        device=device,
        tera_eflop_per_s=rate,
    )


def _as_predicted(request: LawRequest) -> Charging:
    """Seconds of decode steps by fits of measured kernels, as 1e12 FLOP at the device's rate."""
    accelerator = find_accelerator(request.on)
    rate = accelerator.bf16_flop_per_s / TERA
    pricing = SiliconPricing(
        device=accelerator,
        framework=request.framework,
        batch=request.batch or DEFAULT_BATCH,
        num_devices=request.num_devices,
        num_dense_layers=request.num_dense_layers,
    )
    of_edge = {edge: partial(pricing.cost_model, edge=edge, unit_s=1 / rate) for edge in Edge}
    options = CostOptions(num_dense_layers=request.num_dense_layers)
    intensity = accelerator.intensity(Precision.BF16)
    return Charging(
        law=of_edge[Edge.PREDICTED],
        low=of_edge[Edge.LOW],
        high=of_edge[Edge.HIGH],
        flops=lambda model: EFlopCost(model=model, intensity=0.0, options=options),
        hidden=lambda model: EFlopCost(model=model, intensity=intensity, options=options, combine=Combine.MAX),
        description=f"seconds of decode steps by fits of {request.framework} kernels measured on {accelerator.name}, "
        f"bf16, batch {pricing.batch}, {pricing.num_devices} device(s) a model, {request.num_dense_layers} dense "
        "layers; trials share no prompt",
        device=f"{accelerator.name}, {request.framework} kernels",
        tera_eflop_per_s=rate,
        silicon=pricing,
    )


def _as_published() -> Charging:
    return Charging(
        law=lambda model: PublishedCost(model=model),
        flops=lambda model: PublishedCost(model=model, intensity=0.0),
        # The published code has no such variant; the appendix that does says what it would charge.
        hidden=lambda model: EFlopCost(model=model, combine=Combine.MAX, num_parameters=counted_as_published(model)),
        description=f"the published formulas as in their code, intensity {INTENSITY} FLOP/byte, smoothed as published",
        device=_PAPERS_DEVICE,
        tera_eflop_per_s=TERA_EFLOP_PER_B200_S,
        smooths=True,
    )


def _as_measured(path: Path, request: LawRequest) -> Charging:
    device = read_measured_device(path)
    options = CostOptions(num_dense_layers=request.num_dense_layers)
    eflop = partial(EFlopCost, intensity=device.matmul_flop_per_s / device.read_bytes_per_s, options=options)
    rate = device.matmul_flop_per_s / TERA

    def in_tera_flop(model: ModelSpec) -> MeasuredCost:
        """Seconds as 1e12 FLOP at the device's matmul rate, so that measured and counted costs share an axis."""
        return device.cost_model(model, num_dense_layers=request.num_dense_layers) * rate

    return Charging(
        law=in_tera_flop,
        flops=lambda model: EFlopCost(model=model, intensity=0.0, options=options),
        hidden=lambda model: eflop(model=model, combine=Combine.MAX),
        description=f"seconds measured on {device.name} ({path.name}), batch {device.batch}, "
        f"{device.element_bytes}-byte elements",
        device=f"{device.name}, measured",
        tera_eflop_per_s=rate,
    )
