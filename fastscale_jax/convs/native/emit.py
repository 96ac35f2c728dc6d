"""Writes LLVM's intermediate representation: arithmetic, loops, vectors, memory."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
POINTER = ir.PointerType()
Value = Any  # an ir.Value of any type; llvmlite is not typed


def const(value: int) -> Value:
    """A 64-bit integer."""
    return ir.Constant(I64, value)


class Emitter:
    """Appends code to one function. Integers are 64-bit; a Python int is a constant."""

    def __init__(self, function: ir.Function) -> None:
        self.function = function
        self.builder: Any = ir.IRBuilder(function.append_basic_block())

    def add(self, *terms: Value | int) -> Value:
        """The sum."""
        return functools.reduce(self.builder.add, map(_value, terms))

    def mul(self, a: Value | int, b: Value | int) -> Value:
        """The product."""
        return self.builder.mul(_value(a), _value(b))

    def divmod(self, a: Value, b: int) -> tuple[Value, Value]:
        """Quotient and remainder of a number that is not negative."""
        return self.builder.udiv(a, const(b)), self.builder.urem(a, const(b))

    def minimum(self, a: Value | int, b: Value | int) -> Value:
        """The smaller."""
        a, b = _value(a), _value(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    @contextlib.contextmanager
    def loop(self, start: Value | int, stop: Value | int, step: int = 1) -> Iterator[Value]:
        """Emits a loop around the `with` block; yields its index, from `start` below `stop`."""
        b, start, stop = self.builder, _value(start), _value(stop)
        before = b.block
        body, after = self.function.append_basic_block(), self.function.append_basic_block()
        b.cbranch(b.icmp_signed("<", start, stop), body, after)
        b.position_at_end(body)
        index = b.phi(I64)
        index.add_incoming(start, before)
        yield index
        following = b.add(index, const(step))
        index.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, stop), body, after)
        b.position_at_end(after)

    def address(self, base: Value, index: Value | int, element: ir.Type) -> Value:
        """The address of an element of an array."""
        return self.builder.gep(base, [_value(index)], source_etype=element)

    def load(self, base: Value, index: Value | int, scalar: ir.Type, lanes: int = 0) -> Value:
        """The element at an index, or a vector of `lanes` elements that begins there."""
        kind = ir.VectorType(scalar, lanes) if lanes else scalar
        return self.builder.load(self.address(base, index, scalar), typ=kind, align=_size(scalar))

    def store(self, value: Value, base: Value, index: Value | int, scalar: ir.Type) -> None:
        """Writes a scalar or a vector at an element."""
        self.builder.store(value, self.address(base, index, scalar), align=_size(scalar))

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """The sum a * b + c, in one instruction if the machine has it."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])

    def splat(self, x: Value, lanes: int) -> Value:
        """A vector with the same value in each lane."""
        kind = ir.VectorType(x.type, lanes)
        single = self.builder.insert_element(
            ir.Constant(kind, ir.Undefined), x, ir.Constant(I32, 0)
        )
        zeros = ir.Constant(ir.VectorType(I32, lanes), None)
        return self.builder.shuffle_vector(single, ir.Constant(kind, ir.Undefined), zeros)

    def permuted(self, x: Value, order: Sequence[int]) -> Value:
        """The lanes of a vector in another order."""
        if list(order) == list(range(len(order))):
            return x
        mask = ir.Constant(ir.VectorType(I32, len(order)), list(order))
        return self.builder.shuffle_vector(x, ir.Constant(x.type, ir.Undefined), mask)

    def inlined(self, name: str, body: Callable[["Emitter", Value], Value], x: Value) -> Value:
        """The result of a function of a vector, emitted once; LLVM inlines it.

        A kernel calls it many times: emitting its body each time would take longer than compiling
        it.
        """
        module, name = self.function.module, f"{name}_{x.type.count}"
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(x.type, [x.type]), name)
            function.linkage = "internal"
            function.attributes.add("alwaysinline")
            emitter = Emitter(function)
            emitter.builder.ret(body(emitter, function.args[0]))
        return self.builder.call(function, [x])

    def pointer(self, base: Value, offset: int) -> Value:
        """Loads the pointer at `offset` bytes after `base`."""
        return self.builder.load(self.address(base, offset, I8), typ=POINTER)

    def record(self, *fields: tuple[int, Value]) -> Value:
        """Stores fields of at most eight bytes at offsets on the stack; returns the pointer."""
        size = max(offset for offset, _ in fields) // 8 + 1
        pointer = self.builder.alloca(POINTER, size)
        self.fill(pointer, *fields)
        return pointer

    def fill(self, base: Value, *fields: tuple[int, Value]) -> None:
        """Stores fields at offsets of bytes after `base`."""
        for offset, value in fields:
            self.builder.store(value, self.address(base, offset, I8))

    def variable(self, kind: ir.Type) -> Value:
        """A variable on the stack, set to zero; LLVM turns it into a register."""
        with self.builder.goto_entry_block():
            pointer = self.builder.alloca(kind)
        self.builder.store(ir.Constant(kind, None), pointer)
        return pointer

    def value(self, variable: Value) -> Value:
        """The value of a variable."""
        return self.builder.load(variable, typ=variable.allocated_type)

    def accumulate(self, variable: Value, a: Value, b: Value) -> None:
        """Adds a * b to a variable."""
        self.builder.store(self.multiply_add(a, b, self.value(variable)), variable)


def _value(x: Value | int) -> Value:
    return const(x) if isinstance(x, int) else x


def _size(scalar: ir.Type) -> int:
    return 8 if isinstance(scalar, ir.DoubleType) else 4
