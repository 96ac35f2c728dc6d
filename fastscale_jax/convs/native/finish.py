"""Adds an offset to a result and activates it, while it is in a register."""

import math
from collections.abc import Callable

from llvmlite import ir

from fastscale_jax.convs.native.emit import I32, Emitter, Value

# arguments: the emitter, a vector, the pointer to the offsets, the vector's first channel, its
# lanes
Finish = Callable[[Emitter, Value, Value, Value, int], Value]

_FLOAT = ir.FloatType()
# SiLU of float32 below the first is 0 (also at minus infinity, where PyTorch's is NaN), and above
# the second its argument, to rounding. Within, exp(-x) and 1 + exp(-x) are finite.
_LEAST, _MOST = -88.0, 87.0
# their sum is ln(2); the bits of the first end in zeros
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
# Added to a number under 2^22, it rounds it to an integer, which is in the last bits of the sum.
_ROUNDING = 1.5 * 2**23
# exp(r) for |r| <= ln(2) / 2, lowest power first; its relative error is 2e-8, a Chebyshev fit
_EXP = (
    *(1.0, 1.0, 0.49999991059303284, 0.16666419804096222),
    *(0.041668228805065155, 0.008374856784939766, 0.0013836794532835484),
)


def adding(activation: str) -> Finish:
    """Returns a function that adds an offset per channel and activates (empty: it does not)."""
    activate = {"": None, "relu": _relu, "relu6": _relu6, "silu": _silu}[activation]

    def finish(e: Emitter, x: Value, offsets: Value, channel: Value, lanes: int) -> Value:
        x = e.builder.fadd(x, e.load(offsets, channel, _FLOAT, lanes))
        return e.inlined(activation, activate, x) if activate else x

    return finish


def _relu(e: Emitter, x: Value) -> Value:
    zero = ir.Constant(x.type, None)
    # NaN stays NaN
    return e.builder.select(e.builder.fcmp_ordered("<", x, zero), zero, x)


def _relu6(e: Emitter, x: Value) -> Value:
    six = _splat(x, 6.0)
    return e.builder.select(e.builder.fcmp_ordered(">", x, six), six, _relu(e, x))


def _silu(e: Emitter, x: Value) -> Value:
    b = e.builder
    least = _splat(x, _LEAST)
    x = b.select(b.fcmp_ordered(">", least, x), least, x)  # NaN stays NaN
    most = _splat(x, _MOST)
    bounded = b.select(b.fcmp_ordered("<", x, most), x, most)  # and is no NaN here
    return b.fdiv(x, b.fadd(_splat(x, 1.0), _exp_of_negative(e, bounded)))


def _exp_of_negative(e: Emitter, x: Value) -> Value:
    """exp(-x) of float32 between `_LEAST` and `_MOST`: a power of two times a polynomial."""
    b, rounding = e.builder, _splat(x, _ROUNDING)
    shifted = e.multiply_add(x, _splat(x, -math.log2(math.e)), rounding)
    n = b.fsub(shifted, rounding)
    # x + n * ln(2) is the negative rest
    rest = e.multiply_add(n, _splat(x, _LN2_HIGH), x)
    rest = e.multiply_add(n, _splat(x, _LN2_LOW), rest)
    highest, *others = [_splat(x, (-1) ** k * c) for k, c in reversed([*enumerate(_EXP)])]
    total = highest
    for coefficient in others:
        total = e.multiply_add(total, rest, coefficient)
    # times 2^n: n is added to the exponent
    integers = ir.VectorType(I32, x.type.count)
    shift = ir.Constant(integers, [23] * x.type.count)
    power = b.shl(b.bitcast(shifted, integers), shift)
    return b.bitcast(b.add(b.bitcast(total, integers), power), x.type)


def _splat(like: Value, value: float) -> Value:
    return ir.Constant(like.type, [value] * like.type.count)
