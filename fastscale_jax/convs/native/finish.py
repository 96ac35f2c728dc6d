"""Adds an offset to a result and activates it, while it is in a register."""

import math
from collections.abc import Callable

from llvmlite import ir

from fastscale_jax.convs.native.emit import I32, Emitter, Value

# arguments: the emitter, a vector, the pointer to the offsets, the vector's first channel, its
# lanes
Finish = Callable[[Emitter, Value, Value, Value, int], Value]

_FLOAT = ir.FloatType()
# inputs of exp are clipped to these: below, float32's exp is about 0; above, it is infinite
_LEAST, _MOST = -87.0, 89.0
# their sum is ln(2); the bits of the first end in zeros
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4


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
    b, one = e.builder, _splat(x, 1.0)
    return b.fdiv(x, b.fadd(one, _exp(e, b.fneg(x))))


def _exp(e: Emitter, x: Value) -> Value:
    """Exp of float32, to two units in the last place: a power of two times a polynomial."""
    b = e.builder
    # NaN becomes _LEAST, as it has no integer part; `_silu` divides NaN by the result, which is NaN
    x = b.select(b.fcmp_ordered(">", x, _splat(x, _LEAST)), x, _splat(x, _LEAST))
    x = b.select(b.fcmp_ordered("<", x, _splat(x, _MOST)), x, _splat(x, _MOST))
    integers = ir.VectorType(I32, x.type.count)
    half = b.select(b.fcmp_ordered("<", x, _splat(x, 0.0)), _splat(x, -0.5), _splat(x, 0.5))
    scaled = b.fadd(b.fmul(x, _splat(x, math.log2(math.e))), half)
    power = b.fptosi(scaled, integers)
    n = b.sitofp(power, x.type)
    rest = e.multiply_add(n, _splat(x, -_LN2_HIGH), x)
    rest = e.multiply_add(n, _splat(x, -_LN2_LOW), rest)
    # |rest| <= ln(2) / 2, so the first omitted term of 1 + r + r^2/2! + ... is under 2e-8
    total = _splat(x, 1 / math.factorial(7))
    for k in range(6, -1, -1):
        total = e.multiply_add(total, rest, _splat(x, 1 / math.factorial(k)))
    bias, shift = (ir.Constant(integers, [value] * x.type.count) for value in (127, 23))
    return b.fmul(total, b.bitcast(b.shl(b.add(power, bias), shift), x.type))


def _splat(like: Value, value: float) -> Value:
    return ir.Constant(like.type, [value] * like.type.count)
