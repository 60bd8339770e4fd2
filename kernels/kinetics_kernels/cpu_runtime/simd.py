"""Eight float32 side by side, for compiled code whose loops must not depend on the compiler's mood.

Left to LLVM's vectoriser, the same loops carried run-time aliasing checks and remainders that cost as much as the
arithmetic. A `float32x8` lives in a register (two, where registers are narrower) and knows +, -, * and the functions
below; there is nothing here that is not used. It must not be put in a list, whose memory is aligned for less.
"""
# ruff: noqa: ARG001 -- an intrinsic names its arguments for its callers and reads them in `generate`
# mypy: ignore-errors
# Compiled by numba, which types it: mypy sees the decorators, not the code.

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 8
FLAGS = {"contract", "reassoc", "nsz", "arcp"}
"""Fast math without the promise that NaN and infinity never occur: both must reach the output."""

_FLOAT, _INT32 = ir.FloatType(), ir.IntType(32)
_VECTOR, _INT_VECTOR = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT32, LANES)
ELEMENT_BYTES = 4


class FloatVectorType(types.Type):
    """numba's name for so many float32 in registers."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(name=f"float32x{lanes}")


float32x8 = FloatVectorType(LANES)


@register_model(FloatVectorType)
class _FloatVectorModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, ir.VectorType(_FLOAT, numba_type.lanes))


def address(context, builder, signature, arguments, lanes=LANES):
    """Code for where the vector lies that a flat array, the first argument, holds from an offset on, the second."""
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), ir.VectorType(_FLOAT, lanes).as_pointer())


def broadcast(builder, scalar, lanes=LANES):
    """Code for the same number in every lane."""
    single = builder.insert_element(ir.Constant(ir.VectorType(_FLOAT, lanes), ir.Undefined), scalar, _INT32(0))
    return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes))


def call_llvm(builder, name, vectors):
    """Code for a call of an intrinsic function of LLVM, from vectors to a vector of one type."""
    function_type = ir.FunctionType(vectors[0].type, [vector.type for vector in vectors])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), vectors)


@intrinsic
def load(_typing_context, array, offset):
    """The eight elements of a flat float32 array from `offset` on."""

    def generate(context, builder, signature, arguments):
        return builder.load(address(context, builder, signature, arguments), align=ELEMENT_BYTES)

    return float32x8(array, types.uint64), generate


@intrinsic
def store(_typing_context, array, offset, vector):
    """Write eight elements of a flat float32 array from `offset` on."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], address(context, builder, signature, arguments), align=ELEMENT_BYTES)
        return context.get_dummy_value()

    return types.void(array, types.uint64, float32x8), generate


@intrinsic
def splat(_typing_context, scalar):
    """The same number eight times."""

    def generate(_context, builder, _signature, arguments):
        return broadcast(builder, arguments[0])

    return float32x8(types.float32), generate


@intrinsic
def multiply_add(_typing_context, a, b, c):
    """a * b + c, in one instruction where the machine has it."""

    def generate(_context, builder, _signature, arguments):
        return call_llvm(builder, "llvm.fmuladd.v8f32", arguments)

    return float32x8(float32x8, float32x8, float32x8), generate


def _binary(instruction):
    @intrinsic
    def apply(_typing_context, a, b):
        def generate(_context, builder, _signature, arguments):
            return getattr(builder, instruction)(arguments[0], arguments[1])

        return float32x8(float32x8, float32x8), generate

    return apply


_add, _subtract, _multiply = _binary("fadd"), _binary("fsub"), _binary("fmul")


@overload(operator.add)
def _overload_add(a, b):
    return (lambda a, b: _add(a, b)) if a == b == float32x8 else None


@overload(operator.sub)
def _overload_sub(a, b):
    return (lambda a, b: _subtract(a, b)) if a == b == float32x8 else None


@overload(operator.mul)
def _overload_mul(a, b):
    return (lambda a, b: _multiply(a, b)) if a == b == float32x8 else None


@intrinsic
def where_less(_typing_context, a, b, if_less, otherwise):
    """Lane by lane `if_less` where a < b, else `otherwise`: NaN is not less."""

    def generate(_context, builder, _signature, arguments):
        a, b, if_less, otherwise = arguments
        return builder.select(builder.fcmp_ordered("<", a, b), if_less, otherwise)

    return float32x8(float32x8, float32x8, float32x8, float32x8), generate


@intrinsic
def nearest_integer(_typing_context, vector):
    """Each lane rounded to the nearest whole number."""

    def generate(_context, builder, _signature, arguments):
        return call_llvm(builder, "llvm.rint.v8f32", arguments)

    return float32x8(float32x8), generate


@intrinsic
def power_of_two(_typing_context, vector):
    """2 to the power of whole numbers between -126 and 127, by writing them into the exponent bits."""

    def generate(_context, builder, _signature, arguments):
        exponent = builder.add(builder.fptosi(arguments[0], _INT_VECTOR), ir.Constant(_INT_VECTOR, [127] * LANES))
        return builder.bitcast(builder.shl(exponent, ir.Constant(_INT_VECTOR, [23] * LANES)), _VECTOR)

    return float32x8(float32x8), generate


def _shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(_INT_VECTOR, lanes))


def _fold(builder, a, b, even, odd):
    return builder.fadd(_shuffle(builder, a, b, even), _shuffle(builder, a, b, odd))


@intrinsic
def sum_each(_typing_context, v0, v1, v2, v3, v4, v5, v6, v7):
    """The sums of eight vectors, each in its lane: a transposing tree of seven additions."""

    def generate(_context, builder, _signature, arguments):
        # Pairs within the 128-bit halves, which shuffle in one instruction; the halves are folded last.
        even, odd = [0, 2, 8, 10, 4, 6, 12, 14], [1, 3, 9, 11, 5, 7, 13, 15]
        low, high = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
        pairs = [_fold(builder, arguments[i], arguments[i + 1], even, odd) for i in (0, 2, 4, 6)]
        first, second = (_fold(builder, pairs[i], pairs[i + 1], even, odd) for i in (0, 2))
        return _fold(builder, first, second, low, high)

    return float32x8(*[float32x8] * LANES), generate


def _reduction(combine):
    @intrinsic
    def reduce(_typing_context, vector):
        def generate(_context, builder, _signature, arguments):
            vector = arguments[0]
            for distance in (4, 2, 1):
                lanes = [(lane + distance) % LANES for lane in range(LANES)]
                vector = combine(builder, vector, _shuffle(builder, vector, vector, lanes))
            return builder.extract_element(vector, _INT32(0))

        return types.float32(float32x8), generate

    return reduce


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


sum_of = _reduction(lambda builder, a, b: builder.fadd(a, b))
"""The sum of the eight lanes."""
largest_of = _reduction(_larger)
"""The largest of the eight lanes; a lane that is NaN may be passed over."""


# Minimax polynomial of 2**x on [-0.5, 0.5], relative error 2e-9 before rounding.
_EXP2 = tuple(
    np.float32(coefficient)
    for coefficient in (
        1.0,
        0.6931472028553379,
        0.24022647913600617,
        0.05550332470535141,
        0.009618437359110717,
        0.0013398874650798198,
        0.00015353362035265203,
    )
)
_LOWEST_EXPONENT = np.float32(-126)


@njit(fastmath=FLAGS)
def exp2(vector):
    """2 to the power of each lane: zero below 2**-126, NaN of NaN; lanes must not exceed 127."""
    lowest = splat(_LOWEST_EXPONENT)
    whole = nearest_integer(where_less(lowest, vector, vector, lowest))
    fraction = vector - whole
    polynomial = splat(_EXP2[6])
    polynomial = multiply_add(polynomial, fraction, splat(_EXP2[5]))
    polynomial = multiply_add(polynomial, fraction, splat(_EXP2[4]))
    polynomial = multiply_add(polynomial, fraction, splat(_EXP2[3]))
    polynomial = multiply_add(polynomial, fraction, splat(_EXP2[2]))
    polynomial = multiply_add(polynomial, fraction, splat(_EXP2[1]))
    polynomial = multiply_add(polynomial, fraction, splat(_EXP2[0]))
    return where_less(vector, lowest, splat(np.float32(0)), polynomial * power_of_two(whole))


@njit(fastmath=FLAGS)
def dot_eight_rows(q, query, keys, rows, head_dim):
    """One query times eight keys: the eight sums stay in registers until they are folded into one."""
    zero = splat(np.float32(0))
    sum_0, sum_1, sum_2, sum_3, sum_4, sum_5, sum_6, sum_7 = zero, zero, zero, zero, zero, zero, zero, zero
    for step in range(0, head_dim, LANES):
        d = np.uint64(step)
        x = load(q, query + d)
        sum_0 = multiply_add(x, load(keys, rows[0] + d), sum_0)
        sum_1 = multiply_add(x, load(keys, rows[1] + d), sum_1)
        sum_2 = multiply_add(x, load(keys, rows[2] + d), sum_2)
        sum_3 = multiply_add(x, load(keys, rows[3] + d), sum_3)
        sum_4 = multiply_add(x, load(keys, rows[4] + d), sum_4)
        sum_5 = multiply_add(x, load(keys, rows[5] + d), sum_5)
        sum_6 = multiply_add(x, load(keys, rows[6] + d), sum_6)
        sum_7 = multiply_add(x, load(keys, rows[7] + d), sum_7)
    return sum_each(sum_0, sum_1, sum_2, sum_3, sum_4, sum_5, sum_6, sum_7)
