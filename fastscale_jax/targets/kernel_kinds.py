"""What a kernel is for: a table of rules over its traced name, its operations and what it reads."""

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

TRANSFERS = "transfers"  # between the main memory and a faster one, as VMEM: no rule, by its arrays

# they move elements or change their type, and compute nothing
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
    """What the rules go by."""

    op_name: str  # of the traced operation; of a fusion, of its last one
    opcodes: frozenset[str]  # inside, without those that only name things
    flow: Flow  # what it reads depends on


class Rule(NamedTuple):
    """Names a kernel's kind. All that a rule states must hold."""

    kind: str
    name: str = ""  # pattern that is to be found in the op_name
    has: frozenset[str] = frozenset()  # one of these operations is inside
    only: frozenset[str] = frozenset()  # nothing but these is
    reads: Flow = Flow.NOTHING  # depends on all of these
    lacks: Flow = Flow.NOTHING  # depends on none of these

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

# The first rule that holds decides. Convs and products come before all of these, by what they
# are for: whatever is fused with one, it is the conv that the kernel is there for.
RULES = (
    Rule("collectives", has=COLLECTIVES),
    # images become the compute type as the network's first operation
    Rule("input", name=r"\bNetwork\)*/convert_element_type$"),
    # before the scopes: a copy is as avoidable in one layer as in another
    Rule("copies", only=MOVES),
    # pooling, both dense layers, the sigmoid; the product with the map, if its fusion ends there
    Rule("se", name=_SE),
    # scale, offset and running statistics are computed by the module `bn`
    Rule("batchnorm", name=r"\bNetwork\b.*/bn/"),
    # pooling and the last layer's bias also reduce, and are no statistics
    Rule("elementwise", name=r"\bNetwork\)*/head/(reduce_sum|broadcast_in_dim|div|fc/|Dropout)"),
    # XLA splits a product's long sum into parts, and adds them up in another kernel
    Rule("products", name=r"\bNetwork\b.*/(dot_general|transpose)$", has=frozenset(("reduce",))),
    # what else reduces in a layer: the moments, and the gradients of scale and offset
    Rule("batchnorm", name=r"\bNetwork\b", has=frozenset(("reduce",))),
    # moments from their sums
    Rule("batchnorm", name=r"\bNetwork\)*/(?:[^/]+/)+(?!(?:b\d+|Block)/)\w+/div$"),
    # a layer's own sum of gradients: of its conv's result as normalised, and as in the moments.
    # A block's sum (`b3/add_any`; `Block/add_any` in a scan) is the residual's
    Rule(
        "batchnorm",
        name=r"\bNetwork\)\)/(?!.*checkpoint)(?:[^/]+/)+(?!(?:b\d+|Block)/)\w+/add_any$",
    ),
    # normalising with activation and residual; their gradients; pooling; drop path
    Rule("elementwise", name=r"\bNetwork\b"),
    # of the labels alone, too
    Rule("loss", name=r"softmax\)*/|take_along_axis"),
    # outside of the network: what comes after the gradients
    Rule("optimiser", reads=Flow.BACKWARD),
    # after the logits, but not after the gradients: the loss, its own gradient, metrics
    Rule("loss", reads=Flow.FORWARD),
    # of weights and schedule alone
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
        traits: of the kernel.
        products: convs and products in it. The one with most flops decides; those in
            squeeze-and-excitation are part of that.
    """
    if products:
        main = max(products, key=lambda product: product.flops)
        return "se" if re.search(_SE, main.op_name) else main.role
    return next(rule.kind for rule in RULES if rule.holds(traits))


def traits(run: Run, program: Computations) -> Traits:
    """Returns what the rules go by; a fusion without a name has that of its last operation."""
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
