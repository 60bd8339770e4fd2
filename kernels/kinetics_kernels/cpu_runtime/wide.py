"""Sixty-four float32 side by side: a row of a head, or half of one, in as many registers as the machine needs for it.

LLVM splits the type into the widest registers there are. Two accumulators of this width fill half of them, so that
a row of values, once loaded, serves two heads before the next one is.
"""
# ruff: noqa: ARG001 -- an intrinsic names its arguments for its callers and reads them in `generate`
# mypy: ignore-errors
# Compiled by numba, which types it: mypy sees the decorators, not the code.

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from kinetics_kernels.cpu_runtime.simd import ELEMENT_BYTES, FloatVectorType, address, broadcast, call_llvm

WIDE_LANES = 64

float32x64 = FloatVectorType(WIDE_LANES)


@intrinsic
def load_wide(_typing_context, array, offset):
    """The sixty-four elements of a flat float32 array from `offset` on."""

    def generate(context, builder, signature, arguments):
        return builder.load(address(context, builder, signature, arguments, WIDE_LANES), align=ELEMENT_BYTES)

    return float32x64(array, types.uint64), generate


@intrinsic
def store_wide(_typing_context, array, offset, vector):
    """Write sixty-four elements of a flat float32 array from `offset` on."""

    def generate(context, builder, signature, arguments):
        where = address(context, builder, signature, arguments, WIDE_LANES)
        builder.store(arguments[2], where, align=ELEMENT_BYTES)
        return context.get_dummy_value()

    return types.void(array, types.uint64, float32x64), generate


@intrinsic
def scale_add_wide(_typing_context, scalar, vector, total):
    """scalar * vector + total, in one instruction per register where the machine has it."""

    def generate(_context, builder, _signature, arguments):
        scalar, vector, total = arguments
        return call_llvm(builder, "llvm.fmuladd.v64f32", [broadcast(builder, scalar, WIDE_LANES), vector, total])

    return float32x64(types.float32, float32x64, float32x64), generate
