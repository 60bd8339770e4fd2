"""The few machine instructions compiled code needs and numba does not offer: atomic add, prefetch, raw addresses."""
# ruff: noqa: ARG001 -- an intrinsic names its arguments for its callers and reads them in `generate`
# mypy: ignore-errors
# Compiled by numba, which types it: mypy sees the decorators, not the code.

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE_POINTER = ir.IntType(8).as_pointer()
_INT32 = ir.IntType(32)
_READ, _INTO_L2, _DATA_CACHE = 0, 2, 1


@intrinsic
def fetch_add(_typing_context, array, index):
    """Add 1 to `array[index]` (int64) as one atomic step and return the value before."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [arguments[1]]), ir.IntType(64)(1), "acq_rel")

    return types.int64(array, types.intp), generate


@intrinsic
def prefetch(_typing_context, array, index):
    """Ask for the cache line of `array[index]` before it is needed; an address outside the array is harmless."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), _BYTE_POINTER)
        function_type = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        builder.call(function, [address, _INT32(_READ), _INT32(_INTO_L2), _INT32(_DATA_CACHE)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def _pointer(_typing_context, address):
    def generate(_context, builder, _signature, arguments):
        return builder.inttoptr(arguments[0], _BYTE_POINTER)

    return types.voidptr(types.int64), generate


@njit
def float32_at(address, size):
    """The float32 array of this size at an address in memory that outlives the call."""
    return carray(_pointer(address), size, np.float32)


@njit
def int32_at(address, size):
    """The int32 array of this size at an address in memory that outlives the call."""
    return carray(_pointer(address), size, np.int32)


@njit
def int64_at(address, size):
    """The int64 array of this size at an address in memory that outlives the call."""
    return carray(_pointer(address), size, np.int64)
