"""The microarchitecture of a CPU from the numbers it identifies itself by.

Brands do not tell: a virtual machine on a Zen 3 and one on a Zen 5 both say "AMD EPYC".

Sources: Linux, arch/x86/kernel/cpu/amd.c (`bsp_init_amd`), arch/x86/include/asm/intel-family.h and
arch/arm64/include/asm/cputype.h.
"""

from __future__ import annotations

from typing import Final

_AMD, _INTEL, _ARM = "AuthenticAMD", "GenuineIntel", "0x41"

_AMD_RANGES: Final = (
    (0x17, 0x00, 0x2F, "zen"), (0x17, 0x50, 0x5F, "zen"),
    (0x17, 0x30, 0x4F, "zen2"), (0x17, 0x60, 0x7F, "zen2"), (0x17, 0x90, 0x91, "zen2"), (0x17, 0xA0, 0xAF, "zen2"),
    (0x19, 0x00, 0x0F, "zen3"), (0x19, 0x20, 0x5F, "zen3"),
    (0x19, 0x10, 0x1F, "zen4"), (0x19, 0x60, 0xAF, "zen4"),
    (0x1A, 0x00, 0x2F, "zen5"), (0x1A, 0x40, 0x4F, "zen5"), (0x1A, 0x60, 0x7F, "zen5"),
    (0x1A, 0x50, 0x5F, "zen6"), (0x1A, 0x80, 0xAF, "zen6"), (0x1A, 0xC0, 0xCF, "zen6"),
)  # fmt: skip
"""(family, first model, last model, name)."""

_INTEL_MODELS: Final = {
    0x3C: "haswell", 0x3F: "haswell", 0x3D: "broadwell", 0x4F: "broadwell", 0x56: "broadwell", 0x4E: "skylake",
    0x5E: "skylake", 0x55: "skylake-sp", 0x8E: "kabylake", 0x9E: "kabylake", 0xA5: "cometlake", 0xA6: "cometlake",
    0x7E: "icelake", 0x6A: "icelake-sp", 0x6C: "icelake-sp", 0xA7: "rocketlake", 0x8C: "tigerlake", 0x8D: "tigerlake",
    0x97: "alderlake", 0x9A: "alderlake", 0xB7: "raptorlake", 0xBA: "raptorlake", 0xBF: "raptorlake",
    0x8F: "sapphirerapids", 0xCF: "emeraldrapids", 0xAD: "graniterapids", 0xAE: "graniterapids", 0xAF: "sierraforest",
    0xAA: "meteorlake", 0xC5: "arrowlake", 0xC6: "arrowlake", 0xBD: "lunarlake",
}  # fmt: skip
"""Models of family 6."""

_SKYLAKE_SP_STEPPINGS: Final = ((11, "cooperlake"), (5, "cascadelake"))
"""(first stepping, name): three server generations share model 0x55."""

_ARM_PARTS: Final = {
    0xD0C: "neoverse-n1",
    0xD40: "neoverse-v1",
    0xD49: "neoverse-n2",
    0xD4F: "neoverse-v2",
    0xD84: "neoverse-v3",
    0xD8E: "neoverse-n3",
}


def microarchitecture(*, vendor: str, family: int, model: int, stepping: int) -> str | None:
    """The name of the core's design, such as `zen5`; None for one that is not in the table.

    Arguments as /proc/cpuinfo gives them. On ARM: the implementer, the architecture, the part and the revision.
    """
    if vendor == _AMD:
        return next((name for of, low, high, name in _AMD_RANGES if family == of and low <= model <= high), None)
    if vendor == _ARM:
        return _ARM_PARTS.get(model)
    if vendor != _INTEL or family != 6:
        return None
    name = _INTEL_MODELS.get(model)
    if name == "skylake-sp":
        return next((newer for first, newer in _SKYLAKE_SP_STEPPINGS if stepping >= first), name)
    return name
