"""Classifies kernels by rules over their traced name, their operations and their inputs."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from fastscale_jax.targets.kernel_products import Product
from fastscale_jax.targets.kernel_runs import (
    COLLECTIVES,
    NAMES_ONLY,
    Computations,
    Flow,
    Run,
    computation,
)

TRANSFERS = "transfers"  # between main memory and a faster one such as VMEM; found by its arrays

# operations that only move elements or change their type
MOVES = frozenset(
    (
        "copy",
        "transpose",
        "reshape",
        "convert",
        "bitcast-convert",
        "reverse",
        "slice",
        "dynamic-slice",
        "dynamic-update-slice",
        "concatenate",
        "pad",
    )
)


class Traits(NamedTuple):
    """The properties of a kernel that the rules use."""

    op_name: str  # name of the traced operation; for a fusion, of its last one
    opcodes: frozenset[str]  # operations inside, without bitcasts and the like
    flow: Flow  # what its inputs depend on


class Rule(NamedTuple):
    """A condition for a kernel's kind; all its parts must hold."""

    kind: str
    name: str = ""  # regular expression for the op_name
    has: frozenset[str] = frozenset()  # at least one of these operations is inside
    only: frozenset[str] = frozenset()  # no other operations are inside
    reads: Flow = Flow.NOTHING  # inputs depend on all of these
    lacks: Flow = Flow.NOTHING  # inputs depend on none of these

    def holds(self, traits: Traits) -> bool:
        """Returns whether a kernel is of this kind."""
        return (
            (not self.name or re.search(self.name, traits.op_name) is not None)
            and (not self.has or bool(self.has & traits.opcodes))
            and (not self.only or (bool(traits.opcodes) and traits.opcodes <= self.only))
            and self.reads in traits.flow
            and not self.lacks & traits.flow
        )


_SE = r"/se/"

# The first matching rule decides. Kernels with a conv or a product are classified before these
# rules, by its role, whatever is fused with it.
RULES = (
    Rule("collectives", has=COLLECTIVES),
    # the cast of the images to the compute type is the network's first operation
    Rule("input", name=r"\bNetwork\)*/convert_element_type$"),
    # before the rules by scope, because copies are avoidable in every layer
    Rule("copies", only=MOVES),
    # pooling, both dense layers, the sigmoid; the product with the map, if its fusion ends there
    Rule("se", name=_SE),
    # scale, offset and running statistics are computed by the module `bn`
    Rule("batchnorm", name=r"\bNetwork\b.*/bn/"),
    # pooling and the last layer's bias also reduce, but are no statistics
    Rule("elementwise", name=r"\bNetwork\)*/head/(reduce_sum|broadcast_in_dim|div|fc/|Dropout)"),
    # XLA splits a product's long sum into parts and adds them in another kernel
    Rule("products", name=r"\bNetwork\b.*/(dot_general|transpose)$", has=frozenset(("reduce",))),
    # other reductions in a layer: the moments, and the gradients of scale and offset
    Rule("batchnorm", name=r"\bNetwork\b", has=frozenset(("reduce",))),
    # moments from their sums
    Rule("batchnorm", name=r"\bNetwork\)*/(?:[^/]+/)+(?!(?:b\d+|Block)/)\w+/div$"),
    # a layer's sum of two gradients of its conv's result: by normalising and by the moments.
    # A block's sum (`b3/add_any`; `Block/add_any` in a scan) belongs to the residual
    Rule(
        "batchnorm",
        name=r"\bNetwork\)\)/(?!.*checkpoint)(?:[^/]+/)+(?!(?:b\d+|Block)/)\w+/add_any$",
    ),
    # normalising with activation and residual; their gradients; pooling; drop path
    Rule("elementwise", name=r"\bNetwork\b"),
    # also of the labels alone
    Rule("loss", name=r"softmax\)*/|take_along_axis"),
    # outside of the network, after the gradients
    Rule("optimiser", reads=Flow.BACKWARD),
    # after the logits, but not after the gradients: the loss, its own gradient, metrics
    Rule("loss", reads=Flow.FORWARD),
    # depends only on weights and schedule
    Rule("optimiser", reads=Flow.STATE, lacks=Flow.DATA),
    # before the network: augmentation, normalising, mixing, random keys
    Rule("input", reads=Flow.DATA),
    Rule("other"),
)

KINDS = (
    "conv forward",
    "conv input gradient",
    "conv filter gradient",
    "products",
    "batchnorm",
    "se",
    "elementwise",
    "copies",
    "transfers",
    "optimiser",
    "input",
    "loss",
    "collectives",
    "other",
)


def kind_of(traits: Traits, products: list[Product]) -> str:
    """Returns a kernel's kind, one of `KINDS`.

    Args:
        traits: the kernel's traits.
        products: convs and products in the kernel; the one with most flops decides. Those in
            squeeze-and-excitation have that kind.
    """
    if products:
        main = max(products, key=lambda product: product.flops)
        return "se" if re.search(_SE, main.op_name) else main.role
    return next(rule.kind for rule in RULES if rule.holds(traits))


def traits(run: Run, program: Computations) -> Traits:
    """Returns a kernel's traits; a fusion without a name gets its last operation's name."""
    inside = [*_inside(run, program)]
    op_name = run.instruction.op_name
    if not op_name:
        op_name = next((name for _, name in reversed(inside) if name), "")
    opcodes = frozenset(opcode for opcode, _ in inside) - NAMES_ONLY
    return Traits(op_name, opcodes, run.flow)


def _inside(run: Run, program: Computations) -> Iterator[tuple[str, str]]:
    """Yields opcode and op_name of each operation of a kernel."""
    x = run.instruction
    if run.opcode != "fusion":
        yield run.opcode, x.op_name
        return
    stack = list(x.called)
    while stack:
        for y in computation(program, stack.pop()):
            if y.opcode in ("fusion", "call"):
                stack.extend(y.called)
            else:
                yield y.opcode, y.op_name
