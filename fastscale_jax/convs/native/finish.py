"""What a kernel does beside the conv: to its input, and to results that are in a register."""

import math
from typing import NamedTuple

from llvmlite import ir

from fastscale_jax.convs.native.emit import I32, Emitter, Value

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


class Fused(NamedTuple):
    """Operations that one kernel does together with a conv, in float32.

    The operands after the conv's two are: offsets `[c_out]`, gates `[images, c_in]` if there are
    any, and what is added, of the result's shape.
    """

    activation: str = ""  # of each result; empty: none
    images: int = 0  # that have gates, one for each input channel; 0: there are no gates
    adds: bool = False  # whether an array is added to the result, before the activation

    @property
    def name(self) -> str:
        """Identifies the operations."""
        gates = f"_gates{self.images}" if self.images else ""
        return f"activated_{self.activation}{gates}{'_adds' if self.adds else ''}"

    @property
    def operands(self) -> int:
        """Number of operands, the conv's two included."""
        return 3 + bool(self.images) + self.adds

    def gates(self, others: tuple[Value, ...]) -> Value | None:
        """The array of gates among the operands after the conv's two."""
        return others[1] if self.images else None

    def finished(
        self,
        e: Emitter,
        x: Value,
        others: tuple[Value, ...],
        channel: Value,
        index: Value,
    ) -> Value:
        """Emits the rest of the operations on a vector of results.

        Args:
            e: where the code goes.
            x: the conv's results.
            others: the operands after the conv's two.
            channel: the vector's first channel.
            index: of the vector in the array of results.
        """
        lanes = x.type.count
        x = e.builder.fadd(x, e.load(others[0], channel, _FLOAT, lanes))
        if self.adds:
            x = e.builder.fadd(x, e.load(others[-1], index, _FLOAT, lanes))
        activate = _ACTIVATIONS[self.activation]
        return e.inlined(self.activation, activate, x) if activate else x


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


_ACTIVATIONS = {"": None, "relu": _relu, "relu6": _relu6, "silu": _silu}


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
