"""What weights are kept in: bytes of an element, and which of a model's matrices are kept in what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """One way of keeping weights, under the name that tables of measurements use. Bytes include block scales."""

    name: str
    bytes_per_weight: float


BF16: Final = WeightFormat(name="bf16", bytes_per_weight=2.0)
_FORMATS: Final = (
    BF16,
    WeightFormat(name="fp8", bytes_per_weight=1.0),
    # one fp32 scale for 128 x 128 weights
    WeightFormat(name="fp8_block", bytes_per_weight=1.0 + 4 / 128**2),
    # one fp8 scale for 16 weights
    WeightFormat(name="nvfp4", bytes_per_weight=0.5 + 1 / 16),
    # one power-of-two byte for 32 weights; bf16 activations
    WeightFormat(name="mxfp4", bytes_per_weight=0.5 + 1 / 32),
    # one bf16 scale for 128 weights; bf16 activations
    WeightFormat(name="int4", bytes_per_weight=0.5 + 2 / 128),
    WeightFormat(name="fp32", bytes_per_weight=4.0),
)
_ALIASES: Final = {"bfloat16": "bf16", "float16": "bf16", "fp16": "bf16", "fp4": "nvfp4", "float32": "fp32"}
_NEVER_QUANTISED: Final = frozenset({"head", "router", "shared_gate", "index_weights"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormats:
    """Formats of a model's routed experts and of its other matrices; head, routers and gates stay bf16 throughout."""

    dense: WeightFormat
    experts: WeightFormat

    def of(self, matmul_name: str) -> WeightFormat:
        """The format of a matrix outside the routed experts."""
        is_spared = matmul_name in _NEVER_QUANTISED and self.dense.bytes_per_weight < BF16.bytes_per_weight
        return BF16 if is_spared else self.dense

    def bytes_of(self, matmul_name: str) -> float:
        """Bytes of one weight of it."""
        return self.of(matmul_name).bytes_per_weight

    def __str__(self) -> str:
        same = self.dense == self.experts
        return self.dense.name if same else f"{self.dense.name}, experts {self.experts.name}"


def find_weight_format(name: str) -> WeightFormat:
    """The format for a name as people type it.

    Raises: ValueError for one that is not in the table.
    """
    wanted = _ALIASES.get(name.lower(), name.lower())
    found = next((one for one in _FORMATS if one.name == wanted), None)
    if found is None:
        raise ValueError(f"a weight format must be one of {', '.join(one.name for one in _FORMATS)}, got {name!r}")
    return found


def same_format(name: str) -> WeightFormats:
    """One format for everything that is ever quantised."""
    found = find_weight_format(name)
    return WeightFormats(dense=found, experts=found)
