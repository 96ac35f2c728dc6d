"""Reads the text of an HLO module, before or after optimisation: instructions, shapes, layouts.

JAX's public interface has HLO only as text. The objects in `jaxlib._hlo` are private and have less
information. In jax 0.10 an instruction has no shape. In 0.12 it has one, but its attributes, its
metadata and the computations that it calls are still text, or a protobuf whose schema is in
TensorFlow.
"""

import functools
import math
import re
from typing import NamedTuple


class HloError(ValueError):
    """A text is not an HLO module, or has something that cannot be counted."""


class Array(NamedTuple):
    """An array's type and layout, such as `bf16[8,14,14,64]{0,3,2,1:T(8,128)(2,1)S(1)}`."""

    dtype: str
    shape: tuple[int, ...]
    minor_to_major: tuple[int, ...] = ()  # dimensions, fastest-varying first; empty: row-major
    tiles: tuple[tuple[int, ...], ...] = ()  # of TPUs, the outermost first
    memory_space: int = 0  # 0: the device's main memory
    element_bits: int = 0  # if the layout has them; 0: those of the dtype

    @property
    def elements(self) -> int:
        """Number of elements, without padding."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size of the elements in bytes, without padding."""
        return _in_bytes(self.elements, self)

    @property
    def padded_bytes(self) -> int:
        """Size of the buffer in bytes: whole tiles of the layout."""
        return _in_bytes(_tiled_elements(self), self) if self.tiles else self.bytes


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    type: str  # of the result
    opcode: str
    operands: tuple[str, ...]  # names
    attributes: str  # the text after the operands
    is_root: bool

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The result's arrays in order; one if the result is not a tuple."""
        return arrays(self.type)

    @property
    def is_tuple(self) -> bool:
        """Whether the result is a tuple."""
        return self.type.startswith("(")

    @property
    def dtype(self) -> str:
        """The result's element type; empty for tuples."""
        return "" if self.is_tuple else self.arrays[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The result's shape; `()` for tuples."""
        return () if self.is_tuple else self.arrays[0].shape

    @property
    def op_name(self) -> str:
        """Name of the traced operation behind it, or empty."""
        match = _OP_NAME.search(self.attributes)
        return match[1] if match else ""

    @property
    def target(self) -> str:
        """The target of a custom call, or empty."""
        match = _TARGET.search(self.attributes)
        return match[1] if match else ""

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the computations that it calls, except conditions of loops."""
        names = _CALLED.findall(self.attributes)
        for branches in _BRANCHES.findall(self.attributes):
            names += [x.strip().lstrip("%") for x in branches.split(",")]
        return tuple(names)

    def attribute(self, name: str) -> str:
        """Returns an attribute's value, without its outermost braces; empty if it has none."""
        start = self.attributes.find(f" {name}=")
        if start < 0:
            return ""
        start += len(name) + 2
        if self.attributes[start : start + 1] != "{":
            return re.split(r"[,\s]", self.attributes[start:], maxsplit=1)[0]
        end = _closing(self.attributes, start + 1, "{", "}")
        return self.attributes[start + 1 : end]


def computations(text: str) -> dict[str, list[Instruction]]:
    """Returns the instructions of each computation by its name, in order; the entry's name is "".

    Raises:
        HloError: the text has no entry.
    """
    result, name, lines = {}, None, []
    for line in text.splitlines():
        if name is None:
            header = _HEADER.match(line)
            if header:
                name, lines = "" if header[1] else header[2], []
        elif line.startswith("}"):
            result[name] = lines
            name = None
        elif match := _LINE.match(line):
            lines.append(_instruction(match))
    if "" not in result:
        raise HloError("the text has no ENTRY computation: it is not an HLO module")
    return result


_HEADER = re.compile(r"^(?!HloModule)(ENTRY )?%?([\w.\-]+) (?!= ).*\{\s*$")
_LINE = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
_CALLED = re.compile(r"(?:to_apply|calls|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_NAME = re.compile(r"%?([\w.\-]+)(?=,\s|$)")
_ARRAY = re.compile(r"(\w+)\[([^\]]*)\](?:\{([^}]*)\})?")
_TILES = re.compile(r"T((?:\([\d,*]+\))+)")
_SPACE = re.compile(r"S\((\d+)\)")
_BITS = re.compile(r"E\((\d+)\)")


def _instruction(match: re.Match[str]) -> Instruction:
    root, name, kind, opcode, rest = match.groups()
    end = rest.find(")")
    if "(" in rest[:end]:
        end = _closing(rest, 0, "(", ")")
    inside = rest[:end]
    if "{" in inside:  # operands' types, before optimisation; or a constant
        inside = re.sub(r"\{[^}]*\}", "", inside)
    return Instruction(
        name, kind, opcode, tuple(_NAME.findall(inside)), rest[end + 1 :], bool(root)
    )


def _closing(text: str, start: int, opening: str, closing: str) -> int:
    """Returns the index of the bracket that closes the one opened before `start`."""
    depth, end = 1, start
    while end < len(text):
        depth += (text[end] == opening) - (text[end] == closing)
        if not depth:
            return end
        end += 1
    return end


@functools.lru_cache(maxsize=1 << 16)
def arrays(kind: str) -> tuple[Array, ...]:
    """Returns the arrays of a type such as `(f32[8]{0}, bf16[2,8]{1,0})`, including nested ones."""
    return tuple(_array(match) for match in _ARRAY.finditer(kind))


@functools.lru_cache(maxsize=1 << 16)
def elements(kind: str) -> tuple[tuple[Array, ...], ...]:
    """Returns the arrays of each element of a tuple's type."""
    inside, parts, depth, start = kind[1:-1], [], 0, 0
    for i, letter in enumerate(inside):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append(inside[start:i])
            start = i + 1
    return tuple(arrays(part) for part in (*parts, inside[start:]))


def _array(match: re.Match[str]) -> Array:
    dtype, dims, layout = match[1], match[2], match[3] or ""
    # `<=8` is a dimension of dynamic size, at most 8
    shape = tuple(int(n.strip().removeprefix("<=")) for n in dims.split(",") if n.strip())
    order = layout.split(":")[0]
    tiles, space, bits = _TILES.search(layout), _SPACE.search(layout), _BITS.search(layout)
    return Array(
        dtype,
        shape,
        tuple(int(n) for n in order.split(",") if n),
        tuple(_tile(one) for one in tiles[1][1:-1].split(")(")) if tiles else (),
        int(space[1]) if space else 0,
        int(bits[1]) if bits else 0,
    )


def _tile(text: str) -> tuple[int, ...]:
    """Sizes of a tile; -1 for `*`, a whole dimension."""
    return tuple(-1 if n == "*" else int(n) for n in text.split(","))


def _tiled_elements(array: Array) -> int:
    """Elements of an array's buffer. Each tile in turn divides the innermost dimensions."""
    dims = [array.shape[axis] for axis in reversed(array.minor_to_major)]
    for tile in array.tiles:
        dims = [1] * (len(tile) - len(dims)) + dims
        outer, inner = dims[: len(dims) - len(tile)], dims[len(dims) - len(tile) :]
        sizes = [n if t < 0 else t for n, t in zip(inner, tile, strict=True)]
        dims = outer + [-(-n // max(t, 1)) for n, t in zip(inner, sizes, strict=True)] + sizes
    return math.prod(dims)


def _in_bytes(count: int, array: Array) -> int:
    if array.element_bits:
        return -(-count * array.element_bits // 8)
    return count * element_bytes(array.dtype)


@functools.cache
def element_bytes(dtype: str) -> int:
    """Returns the bytes of one element; types of less than a byte take 1, tokens 0."""
    bits = re.search(r"\d+", dtype)
    if bits:
        return max(1, int(bits[0]) // 8)
    return int(dtype == "pred")
