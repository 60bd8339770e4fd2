"""Accelerators: what their makers say they can do, with a source beside each row.

Rates are dense (no structured sparsity) and in base units: FLOP/s, bytes, bytes/s. Datasheets love to print the
sparse figure, twice as high; the `note` of a row names the trap where one is known. What a device really reaches is
measured elsewhere; nothing here is a measurement.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
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

    `fp8_flop_per_s`, `l2_bytes` and `num_processors` (streaming multiprocessors) are None where the device lacks the
    format or no source states the figure. `device_pattern` matches the whole name that the driver reports, in lower
    case. `is_usual`: the one that people mean by a name that fits several. `link_bytes_per_s`: to its neighbours in a
    node, each way.
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
    num_processors: int | None = None
    link_bytes_per_s: float | None = None
    is_usual: bool = False

    @property
    def called(self) -> str:
        """Its name as people say it: H200, RTX PRO 6000."""
        return re.split(r" SXM| \(| Server", self.name)[0]

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
    processors: int | None = None,
    link_gb_per_s: float | None = None,
    usual: bool = False,
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
        num_processors=processors,
        link_bytes_per_s=None if link_gb_per_s is None else link_gb_per_s * GIGA,
        is_usual=usual,
    )


# name, dense bf16 TFLOP/s, dense fp8 TFLOP/s, GB, TB/s, L2 in MB
ACCELERATORS: Final = (
    _accelerator(
        "A100-40GB SXM", 312, None, 40, 1.555, 40,
        pattern=r"nvidia a100-sxm4-40gb",
        source="LLM-Viewer hardware_params.py; llm-analysis a100-sxm-40gb.json; NVIDIA A100 whitepaper",
        note="bf16 with sparsity is 624",
        processors=108, link_gb_per_s=300,
    ),
    _accelerator(
        "A100-80GB SXM", 312, None, 80, 2.039, 40,
        pattern=r"nvidia a100-sxm4-80gb",
        source="aiconfigurator a100_sxm.yaml; llm-analysis",
        note="bf16 with sparsity is 624",
        processors=108, link_gb_per_s=300, usual=True,
    ),
    _accelerator(
        "A100-80GB PCIe", 312, None, 80, 1.935, 40,
        pattern=r"nvidia a100 80gb pcie",
        source="stas00 ml-engineering (1.94)",
        note="300 W: clocks are lower than the SXM part's",
        processors=108,
    ),
    _accelerator(
        "H100 SXM5 80GB", 989.4, 1978.9, 80, 3.35, 50,
        pattern=r"nvidia h100 80gb hbm3",
        source="aiconfigurator h100_sxm.yaml; llm-analysis; stas00 ml-engineering",
        note="the datasheet prints 1,979/3,958, with sparsity",
        processors=132, link_gb_per_s=450, usual=True,
    ),
    _accelerator(
        "H100 PCIe 80GB", 756, 1513, 80, 2.0, 50,
        pattern=r"nvidia h100 pcie",
        source="stas00 ml-engineering; LLM-Viewer",
        note="the datasheet prints 1,513/3,026, with sparsity",
        processors=114,
    ),
    _accelerator(
        "H200 SXM 141GB", 989.4, 1978.9, 141, 4.8, 50,
        pattern=r"nvidia h200",
        source="aiconfigurator h200_sxm.yaml; stas00 ml-engineering",
        note="the datasheet's 1,979/3,958 are with sparsity; many pages call them dense",
        processors=132, link_gb_per_s=450,
    ),
    _accelerator(
        "H20 96GB", 148, 296, 96, 4.0, 60,
        pattern=r"nvidia h20",
        source="flash-attention issue 1572; web specification pages",
        processors=78, link_gb_per_s=450,
    ),
    _accelerator(
        "B200 SXM (HGX)", 2250, 4500, 180, 7.7, 126,
        pattern=r"nvidia b200",
        source="aiconfigurator b200_sxm.yaml; pytorch/ao issue 4002 (device: 7680-bit bus, 7.672 TB/s, L2 126.5 MB)",
        note="marketing says 8 TB/s and 192 GB; bf16 4,500 and fp8 9,000 are with sparsity",
        processors=148, link_gb_per_s=900,
    ),
    _accelerator(
        "GB200 (per GPU)", 2500, 5000, 186, 8.0, 126,
        pattern=r"nvidia gb200",
        source="aiconfigurator gb200.yaml; stas00 ml-engineering",
        note="the 1,200 W part",
        processors=148, link_gb_per_s=900,
    ),
    _accelerator(
        "B300 SXM (HGX)", 2250, 4500, 288, 8.0, 126,
        pattern=r"nvidia b300( sxm6 ac)?",
        source="aiconfigurator b300_sxm.yaml (7.75 TB/s, 275 GiB usable); stas00 ml-engineering",
        note="some pages claim 7 PFLOP/s dense fp8",
        processors=148, link_gb_per_s=900,
    ),
    _accelerator(
        "GB300 (per GPU)", 2500, 5000, 288, 8.0, 126,
        pattern=r"nvidia gb300",
        source="aiconfigurator gb300.yaml; stas00 ml-engineering",
        processors=148, link_gb_per_s=900,
    ),
    _accelerator(
        "L40S", 362, 733, 48, 0.864, 96,
        pattern=r"nvidia l40s",
        source="aiconfigurator l40s.yaml; stas00 ml-engineering",
        note="362.05/733 are dense: the datasheet prints dense | sparse",
        processors=142, link_gb_per_s=32,
    ),
    _accelerator(
        "RTX 4090", 165.2, 330.3, 24, 1.008, 72,
        pattern=r"nvidia geforce rtx 4090",
        source="NVIDIA Ada whitepaper, not checked again",
        note="fp32 accumulation; 330 in bf16 only with fp16 accumulation",
        processors=128,
    ),
    _accelerator(
        "RTX 5090", 209.5, 419, 32, 1.792, 96,
        pattern=r"nvidia geforce rtx 5090",
        source="838/4 of the fp16 sparse figure, not checked again; 1,792 GB/s and 96 MB corroborated",
        note="838 is sparse with fp16 accumulation",
        processors=170,
    ),
    _accelerator(
        "RTX PRO 6000 Server", 467.8, 935.6, 96, 1.792, 128,
        pattern=r"nvidia rtx pro 6000 blackwell server edition",
        source="aiconfigurator rtx_pro_6000_server.yaml; L2 and multiprocessors: NVIDIA RTX Blackwell PRO whitepaper",
        processors=188, link_gb_per_s=64,
    ),
    _accelerator(
        "Arc Pro B60", 98.3, None, 24, 0.456, 18,
        pattern=r"intel.*arc.*pro b60.*",
        source="aiconfigurator b60.yaml; L2 and Xe cores: Intel's data sheet",
        processors=20, link_gb_per_s=28.4,
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
    """The table's row for a name as the world writes it: `H200`, `h100_sxm`, `a100-80gb sxm`, `NVIDIA H100 80GB HBM3`.

    The words given must begin words of the row's name, in their order and any case, the first being the same. Of
    several rows the usual one is meant, if there is one.

    Raises: ValueError if no row or several answer; the message lists them, or the nearest names.
    """
    wanted = _words(name)
    reported = _match_spelling(name)
    found = [reported] if reported else [row for row in ACCELERATORS if _begins(row.name, wanted)]
    if len(found) > 1:
        found = [row for row in found if row is not None and row.is_usual] or found
    if len(found) == 1 and found[0] is not None:
        return found[0]
    raise ValueError(f"accelerator must name one row of the table, got {name!r}; {_suggestion(name, found)}")


def _match_spelling(name: str) -> Accelerator | None:
    """The row for a driver's name, also without its maker or with hyphens for spaces: `H100-80GB-HBM3`."""
    spellings = (name, name.replace("-", " "))
    names = [f"{maker}{spelling}" for spelling in spellings for maker in ("", "nvidia ")]
    return next((row for row in map(match_device, names) if row is not None), None)


def _begins(row_name: str, wanted: Sequence[str]) -> bool:
    """Whether the wanted words begin words of the name, in their order, its first among them."""
    words = iter(_words(row_name))
    return (
        bool(wanted) and next(words) == wanted[0] and all(any(w.startswith(one) for w in words) for one in wanted[1:])
    )


def _suggestion(name: str, found: Sequence[Accelerator | None]) -> str:
    if not found:
        names = {row.name.lower().split()[0]: row.name for row in reversed(ACCELERATORS)}
        near = get_close_matches(name.lower().split()[0] if name.split() else "", names, n=3, cutoff=0.6)
        if near:
            return f"did you mean {' or '.join(names[one] for one in near)}?"
    return f"choose from {', '.join(row.name for row in (found or ACCELERATORS) if row is not None)}"


def match_device(device_name: str) -> Accelerator | None:
    """The row for a name that a driver reports, such as `NVIDIA H200`; None if the table does not know the device.

    The whole name must match: a laptop or export variant is another device.
    """
    reported = " ".join(device_name.lower().split())
    return next((row for row in ACCELERATORS if re.fullmatch(row.device_pattern, reported)), None)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())
