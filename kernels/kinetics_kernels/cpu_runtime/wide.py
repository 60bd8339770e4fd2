"""Sixty-four float32 side by side: a row of a head, or half of one, in as many registers as the machine needs for it.

LLVM splits the type into the widest registers there are. Two accumulators of this width fill half of them, so that
a row of values, once loaded, serves two heads before the next one is.
"""
# ruff: noqa: ARG001 -- an intrinsic names its arguments for its callers and reads them in `generate`
# mypy: ignore-errors
# Compiled by numba, which types it: mypy sees the decorators, not the code.

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDE_LANES = 64

_FLOAT, _INT32 = ir.FloatType(), ir.IntType(32)
_VECTOR, _INT_VECTOR = ir.VectorType(_FLOAT, WIDE_LANES), ir.VectorType(_INT32, WIDE_LANES)
_ELEMENT_BYTES = 4


class Float32x64Type(types.Type):
    """numba's name for sixty-four float32 in registers."""

    def __init__(self):
        super().__init__(name="float32x64")


float32x64 = Float32x64Type()


@register_model(Float32x64Type)
class _Float32x64Model(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _VECTOR)


def _address(context, builder, signature, arguments):
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), _VECTOR.as_pointer())


@intrinsic
def load_wide(_typing_context, array, offset):
    """The sixty-four elements of a flat float32 array from `offset` on."""

    def generate(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature, arguments), align=_ELEMENT_BYTES)

    return float32x64(array, types.uint64), generate


@intrinsic
def store_wide(_typing_context, array, offset, vector):
    """Write sixty-four elements of a flat float32 array from `offset` on."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _address(context, builder, signature, arguments), align=_ELEMENT_BYTES)
        return context.get_dummy_value()

    return types.void(array, types.uint64, float32x64), generate


@intrinsic
def scale_add_wide(_typing_context, scalar, vector, total):
    """scalar * vector + total, in one instruction per register where the machine has it."""

    def generate(_context, builder, _signature, arguments):
        scalar, vector, total = arguments
        single = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, _INT32(0))
        scalars = builder.shuffle_vector(single, single, ir.Constant(_INT_VECTOR, [0] * WIDE_LANES))
        function_type = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, function_type, "llvm.fmuladd.v64f32")
        return builder.call(multiply_add, [scalars, vector, total])

    return float32x64(types.float32, float32x64, float32x64), generate
