"""Accelerators: what their makers say they can do, with a source beside each row.

Rates are dense (no structured sparsity) and in base units: FLOP/s, bytes, bytes/s. Datasheets love to print the
sparse figure, twice as high; the `note` of a row names the trap where one is known. What a device really reaches is
measured elsewhere; nothing here is a measurement.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from kinetics.specs.units import GIGA, MEGA, TERA


class Precision(Enum):
    """The number format a matrix unit multiplies in."""

    BF16 = "bf16"
    FP8 = "fp8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device as its data sheet describes it.

    `fp8_flop_per_s` and `l2_bytes` are None where the device lacks the format or no source states the figure.
    `device_pattern` matches the whole name that the driver reports, in lower case.
    """

    name: str
    bf16_flop_per_s: float
    fp8_flop_per_s: float | None
    memory_bytes: int
    memory_bytes_per_s: float
    l2_bytes: int | None
    device_pattern: str
    source: str
    note: str = ""

    def flop_per_s(self, precision: Precision) -> float:
        """Dense matrix rate in FLOP/s.

        Raises: ValueError if the device has no such rate in the table.
        """
        rate = self.bf16_flop_per_s if precision is Precision.BF16 else self.fp8_flop_per_s
        if rate is None:
            raise ValueError(f"{self.name} must have a {precision.value} rate, got none in the table; use bf16")
        return rate

    def intensity(self, precision: Precision) -> float:
        """FLOP the device can do while it reads one byte: the I of the paper's eFLOPs, in FLOP/byte."""
        return self.flop_per_s(precision) / self.memory_bytes_per_s


def _accelerator(
    name: str,
    bf16_tflops: float,
    fp8_tflops: float | None,
    memory_gb: int,
    terabytes_per_s: float,
    l2_mb: int | None,
    *,
    pattern: str,
    source: str,
    note: str = "",
) -> Accelerator:
    """A row as data sheets print it, turned into base units."""
    return Accelerator(
        name=name,
        bf16_flop_per_s=bf16_tflops * TERA,
        fp8_flop_per_s=None if fp8_tflops is None else fp8_tflops * TERA,
        memory_bytes=memory_gb * GIGA,
        memory_bytes_per_s=terabytes_per_s * TERA,
        l2_bytes=None if l2_mb is None else l2_mb * MEGA,
        device_pattern=pattern,
        source=source,
        note=note,
    )


# name, dense bf16 TFLOP/s, dense fp8 TFLOP/s, GB, TB/s, L2 in MB
ACCELERATORS: Final = (
    _accelerator(
        "A100-40GB SXM", 312, None, 40, 1.555, 40,
        pattern=r"nvidia a100-sxm4-40gb",
        source="LLM-Viewer hardware_params.py; llm-analysis a100-sxm-40gb.json; NVIDIA A100 whitepaper",
        note="bf16 with sparsity is 624",
    ),
    _accelerator(
        "A100-80GB SXM", 312, None, 80, 2.039, 40,
        pattern=r"nvidia a100-sxm4-80gb",
        source="aiconfigurator a100_sxm.yaml; llm-analysis",
        note="bf16 with sparsity is 624",
    ),
    _accelerator(
        "A100-80GB PCIe", 312, None, 80, 1.935, 40,
        pattern=r"nvidia a100 80gb pcie",
        source="stas00 ml-engineering (1.94)",
        note="300 W: clocks are lower than the SXM part's",
    ),
    _accelerator(
        "H100 SXM5 80GB", 989.4, 1978.9, 80, 3.35, 50,
        pattern=r"nvidia h100 80gb hbm3",
        source="aiconfigurator h100_sxm.yaml; llm-analysis; stas00 ml-engineering",
        note="the datasheet prints 1,979/3,958, with sparsity",
    ),
    _accelerator(
        "H100 PCIe 80GB", 756, 1513, 80, 2.0, 50,
        pattern=r"nvidia h100 pcie",
        source="stas00 ml-engineering; LLM-Viewer",
        note="the datasheet prints 1,513/3,026, with sparsity",
    ),
    _accelerator(
        "H200 SXM 141GB", 989.4, 1978.9, 141, 4.8, 50,
        pattern=r"nvidia h200",
        source="aiconfigurator h200_sxm.yaml; stas00 ml-engineering",
        note="the datasheet's 1,979/3,958 are with sparsity; many pages call them dense",
    ),
    _accelerator(
        "H20 96GB", 148, 296, 96, 4.0, 60,
        pattern=r"nvidia h20",
        source="flash-attention issue 1572; web specification pages",
    ),
    _accelerator(
        "B200 SXM (HGX)", 2250, 4500, 180, 7.7, 126,
        pattern=r"nvidia b200",
        source="aiconfigurator b200_sxm.yaml; pytorch/ao issue 4002 (device: 7680-bit bus, 7.672 TB/s, L2 126.5 MB)",
        note="marketing says 8 TB/s and 192 GB; bf16 4,500 and fp8 9,000 are with sparsity",
    ),
    _accelerator(
        "GB200 (per GPU)", 2500, 5000, 186, 8.0, 126,
        pattern=r"nvidia gb200",
        source="aiconfigurator gb200.yaml; stas00 ml-engineering",
        note="the 1,200 W part",
    ),
    _accelerator(
        "B300 SXM (HGX)", 2250, 4500, 288, 8.0, None,
        pattern=r"nvidia b300( sxm6 ac)?",
        source="aiconfigurator b300_sxm.yaml (7.75 TB/s, 275 GiB usable); stas00 ml-engineering",
        note="some pages claim 7 PFLOP/s dense fp8",
    ),
    _accelerator(
        "GB300 (per GPU)", 2500, 5000, 288, 8.0, None,
        pattern=r"nvidia gb300",
        source="aiconfigurator gb300.yaml; stas00 ml-engineering",
    ),
    _accelerator(
        "L40S", 362, 733, 48, 0.864, 96,
        pattern=r"nvidia l40s",
        source="aiconfigurator l40s.yaml; stas00 ml-engineering",
        note="362.05/733 are dense: the datasheet prints dense | sparse",
    ),
    _accelerator(
        "RTX 4090", 165.2, 330.3, 24, 1.008, 72,
        pattern=r"nvidia geforce rtx 4090",
        source="NVIDIA Ada whitepaper, not checked again",
        note="fp32 accumulation; 330 in bf16 only with fp16 accumulation",
    ),
    _accelerator(
        "RTX 5090", 209.5, 419, 32, 1.792, 96,
        pattern=r"nvidia geforce rtx 5090",
        source="838/4 of the fp16 sparse figure, not checked again; 1,792 GB/s and 96 MB corroborated",
        note="838 is sparse with fp16 accumulation",
    ),
    _accelerator(
        "MI300X", 1307.4, 2614.9, 192, 5.3, 32,
        pattern=r"amd instinct mi300x.*",
        source="GenZ; stas00 ml-engineering; ROCm GPU specifications",
        note="256 MB Infinity Cache behind the L2; about 668 TFLOP/s were reached in matmuls",
    ),
    _accelerator(
        "MI325X", 1307.4, 2614.9, 256, 6.0, 32,
        pattern=r"amd instinct mi325x.*",
        source="GenZ; vultr cookbook; stas00 ml-engineering",
        note="256 MB Infinity Cache behind the L2",
    ),
    _accelerator(
        "MI355X", 2500, 5000, 288, 8.0, 32,
        pattern=r"amd instinct mi355x.*",
        source="stas00 ml-engineering; ROCm GPU specifications",
        note="256 MB Infinity Cache behind the L2",
    ),
    _accelerator(
        "TPU v5e", 197, None, 16, 0.819, None,
        pattern=r"tpu v5 ?(e|lite)",
        source="docs.cloud.google.com/tpu v5e (819 GB/s; a newer page prints 800 GiB/s)",
    ),
    _accelerator(
        "TPU v6e", 918, 918, 32, 1.638, None,
        pattern=r"tpu v6 ?(e|lite)",
        source="docs.cloud.google.com/tpu v6e",
    ),
    _accelerator(
        "TPU v5p", 459, None, 95, 2.765, None,
        pattern=r"tpu v5p?",
        source="GenZ; stas00 ml-engineering",
    ),
)  # fmt: skip


def find_accelerator(name: str) -> Accelerator:
    """The table's row for a name as a person types it: `H200`, `b200`, `a100-80gb sxm`.

    The words given must be the first words of exactly one row's name, in any case.

    Raises: ValueError if no row or more than one row answers; the message lists the names.
    """
    wanted = _words(name)
    found = [row for row in ACCELERATORS if wanted and _words(row.name)[: len(wanted)] == wanted]
    if len(found) != 1:
        choices = ", ".join(row.name for row in (found or ACCELERATORS))
        raise ValueError(f"accelerator must name one row of the table, got {name!r}; choose from {choices}")
    return found[0]


def match_device(device_name: str) -> Accelerator | None:
    """The row for a name that a driver reports, such as `NVIDIA H200`; None if the table does not know the device.

    The whole name must match: a laptop or export variant is another device.
    """
    reported = " ".join(device_name.lower().split())
    return next((row for row in ACCELERATORS if re.fullmatch(row.device_pattern, reported)), None)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())
