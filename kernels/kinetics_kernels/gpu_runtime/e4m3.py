"""8-bit floats of 4 exponent and 3 mantissa bits (e4m3, without infinities) inside GPU kernels, with scales.

Where the hardware converts, it is asked to; where it does not (before compute capability 8.9), integer arithmetic does
the same, on caches passed as bytes. A scale is a power of two, so that scaling again, when a later key needs more
range, loses nothing but what falls below the smallest number.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

LARGEST = tl.constexpr(448.0)

SMALLEST_SCALE = tl.constexpr(2.0**-64)
"""Of a page of zeros: far from where its reciprocal would overflow."""


@triton.jit
def widen_e4m3(numbers, DTYPE: tl.constexpr, IS_NATIVE: tl.constexpr):
    """8-bit floats, or their bytes, as DTYPE: every value is exact, NaN stays NaN."""
    if IS_NATIVE:
        widened = numbers.to(DTYPE)
    else:
        bits = numbers.to(tl.int32)
        magnitude = bits & 0x7F
        # Exponents are biased by 7 here and by 127 in float32: in its place, one reads 2 ** -120 times too small.
        value = ((magnitude << 20) | ((bits & 0x80) << 24)).to(tl.float32, bitcast=True) * 2.0**120
        widened = tl.where(magnitude == 0x7F, float("nan"), value).to(DTYPE)
    return widened


@triton.jit
def narrow_e4m3(values, IS_NATIVE: tl.constexpr):
    """float32 as 8-bit floats, or their bytes: rounded to nearest, ties to even, what is too large to the largest."""
    limited = tl.where(values != values, values, tl.minimum(tl.maximum(values, -LARGEST), LARGEST))
    if IS_NATIVE:
        narrowed = limited.to(tl.float8e4nv)
    else:
        bits = (limited * 2.0**-120).to(tl.int32, bitcast=True)
        magnitude = bits & 0x7FFFFFFF
        rounded = (magnitude + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20
        rounded = tl.where(values != values, 0x7F, rounded)
        narrowed = (rounded | ((bits >> 24) & 0x80)).to(tl.uint8)
    return narrowed


@triton.jit
def scale_for(largest):
    """The smallest power of two by which numbers up to `largest` fit, float32; of zero SMALLEST_SCALE."""
    bits = (largest / LARGEST).to(tl.int32, bitcast=True)
    # The exponent alone, one more where a mantissa was cut off.
    exponent = (bits + 0x7FFFFF) & 0x7F800000
    return tl.maximum(exponent.to(tl.float32, bitcast=True), SMALLEST_SCALE)


def e4m3_operand(cache: torch.Tensor, *, is_native: bool) -> torch.Tensor:
    """A cache as kernels take it: 8-bit floats as bytes where the hardware does not convert them."""
    return cache.view(torch.uint8) if cache.dtype == torch.float8_e4m3fn and not is_native else cache
