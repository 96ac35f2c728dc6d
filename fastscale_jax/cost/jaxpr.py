"""Flops, params and acts of any function that JAX can trace, counted in its jaxpr.

The conventions are those of `arch.complexity`: a multiply-add is one flop, taps on padding are
counted, a bias counts one per output; acts are the output elements of convs, matrix products and
max-pooling. Elementwise operations and sums are not counted.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from fastscale_jax.arch import Complexity
from fastscale_jax.cost.biases import NOTHING, Fact, is_bias, reshaped


class CountError(ValueError):
    """A function cannot be counted."""


class Operation(NamedTuple):
    """A conv, a matrix product, a bias or a max-pooling, with all its runs."""

    kind: str  # name of the primitive, or `bias`
    shape: tuple[int, ...]  # of its output
    flops: int  # of all runs
    acts: int  # of all runs
    times: int  # number of runs


def count(function: Callable[..., Any], *args: Any, params: Any = ()) -> Complexity:
    """Counts the cost of a call of a function, without running it.

    Args:
        function: a function of arrays.
        args: its arguments: arrays or `jax.ShapeDtypeStruct`s. The cost is that of the whole batch.
        params: a tree of the learned arrays or their shapes; their elements are counted.

    Raises:
        CountError: the function cannot be traced with these arguments, or it has a loop whose
            length depends on data.
    """
    costs = list(operations(function, *args))
    learned = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    return Complexity(sum(x.flops for x in costs), learned, sum(x.acts for x in costs))


def count_module(module: Any, *args: Any, **options: Any) -> Complexity:
    """Counts the cost of a Flax Linen module, with its parameters in the collection `params`.

    Args:
        module: not yet initialised.
        args: arguments of its `__call__`: arrays or `jax.ShapeDtypeStruct`s.
        options: keyword arguments of its `__call__`, such as `train=False`.

    Raises:
        CountError: as `count`.
    """

    def init(*args: Any) -> Any:
        return module.init({"params": jax.random.key(0)}, *args, **options)

    def apply(variables: Any, *args: Any) -> Any:
        return module.apply(variables, *args, **options)

    variables = _traced(lambda: jax.eval_shape(init, *args))
    return count(apply, variables, *args, params=variables.get("params", ()))


def operations(function: Callable[..., Any], *args: Any) -> list[Operation]:
    """Returns the counted operations of a call, in order.

    Args:
        function: as in `count`.
        args: as in `count`.

    Raises:
        CountError: as in `count`.
    """
    jaxpr = _traced(lambda: jax.make_jaxpr(function)(*args)).jaxpr
    costs: list[Operation] = []
    _walk(jaxpr, [Fact(argument_ndim=len(_shape(v))) for v in jaxpr.invars], 1, costs)
    return costs


def _traced(trace: Callable[[], Any]) -> Any:
    try:
        return trace()
    except Exception as error:  # the function is the user's: it may raise anything
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise CountError(
            f"the function cannot be traced with these arguments: {first[0]}"
        ) from error


def _walk(
    jaxpr: Jaxpr, arguments: list[Fact], times: int, operations: list[Operation]
) -> list[Fact]:
    """Appends the operations of a jaxpr; returns what is known about its results.

    Args:
        jaxpr: the jaxpr to count.
        arguments: what is known about its arguments.
        times: number of its runs.
        operations: the list to append to.
    """
    known: dict[Any, Fact] = dict(zip(jaxpr.invars, arguments, strict=True))
    known |= {v: Fact(argument_ndim=len(_shape(v))) for v in jaxpr.constvars}

    def fact_of(v: Any) -> Fact:
        return NOTHING if isinstance(v, Literal) else known.get(v, NOTHING)

    for equation in jaxpr.eqns:
        name, facts = equation.primitive.name, [fact_of(v) for v in equation.invars]
        results = [NOTHING] * len(equation.outvars)
        shape = _shape(equation.outvars[0]) if equation.outvars else ()
        size = math.prod(shape)
        if name in ("add", "add_any") and is_bias(*facts):
            operations.append(Operation("bias", shape, times * size, 0, times))
        elif name in _POOLINGS:
            operations.append(Operation(name, shape, 0, times * size, times))
        elif name in _MACS or _is_conv_in_forms(equation):
            macs = _MACS.get(name, _conv_in_forms)(equation)
            operations.append(Operation(name, shape, times * macs, times * size, times))
            results = [Fact(features=_features(equation))]
        elif name != "pallas_call" and any(True for _ in _jaxprs(equation.params)):
            results = _walk_inner(equation, facts, times, operations)
        elif len(equation.outvars) == 1:
            results = [reshaped(equation, facts[0])] if facts else results
        known |= dict(zip(equation.outvars, results, strict=True))
    return [fact_of(v) for v in jaxpr.outvars]


def _walk_inner(
    equation: JaxprEqn, facts: list[Fact], times: int, operations: list[Operation]
) -> list[Fact]:
    """Walks the jaxprs of a call, a loop or a conditional."""
    name, options = equation.primitive.name, equation.params
    inner = list(_jaxprs(options))
    if name == "cond":  # count the most expensive branch
        branches: list[list[Operation]] = [[] for _ in inner]
        for jaxpr, one in zip(inner, branches, strict=True):
            _walk(jaxpr, facts[1:], times, one)
        operations += max(branches, key=lambda one: sum(x.flops for x in one))
        return [NOTHING] * len(equation.outvars)
    if name == "while":
        loop: list[Operation] = []
        for jaxpr in inner:
            _walk(jaxpr, [NOTHING] * len(jaxpr.invars), times, loop)
        if loop:
            raise CountError(
                "the function has a convolution or a matrix product in a loop whose length depends "
                "on data; use jax.lax.scan, or fori_loop with constant bounds"
            )
        return [NOTHING] * len(equation.outvars)
    if name == "scan":
        times *= options["length"]
        facts = _facts_of_one_round(equation, inner[0], facts)
    elif name == "shard_map":  # its sizes are per device
        times *= math.prod(options["mesh"].shape[axis] for axis in options["newly_manual_axes"])
    # For a function with a custom derivative, the function itself is walked: if it is
    # differentiated, JAX has already replaced it with the derivative.
    results: list[Fact] = []
    for jaxpr in inner:
        fits = len(jaxpr.invars) == len(facts)
        results = _walk(jaxpr, facts if fits else [NOTHING] * len(jaxpr.invars), times, operations)
    is_call = name != "scan" and len(results) == len(equation.outvars)
    return results if is_call else [NOTHING] * len(equation.outvars)


def _facts_of_one_round(scan: JaxprEqn, body: Jaxpr, facts: list[Fact]) -> list[Fact]:
    """What is known of a scan's arguments in one round: constants, carried values, slices.

    Their numbers follow from shapes, because releases of JAX record them in different ways. Outside
    the loop, sliced and stacked arrays have one more axis.
    """
    sliced = _with_more_axes(scan.invars, body.invars)
    carried = len(scan.outvars) - _with_more_axes(scan.outvars, body.outvars)
    kept = len(facts) - sliced - carried
    return [
        *facts[:kept],
        *[NOTHING] * carried,
        *(fact.sliced() for fact in facts[kept + carried :]),
    ]


def _with_more_axes(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    pairs = zip(outside, inside, strict=True)
    return sum(len(_shape(x)) > len(_shape(y)) for x, y in pairs)


def _shape(variable: Any) -> tuple[int, ...]:
    return getattr(variable.aval, "shape", ())  # a token has no shape, for instance


def _jaxprs(options: Mapping[str, Any]) -> Iterator[Jaxpr]:
    for value in options.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one


def _features(equation: JaxprEqn) -> frozenset[int]:
    """The feature axes of a result: along them each element has its own kernel."""
    y = len(_shape(equation.outvars[0]))
    if equation.primitive.name == "dot_general":
        (_, contracted), (_, batch) = equation.params["dimension_numbers"]
        count = len(_shape(equation.invars[1])) - len(contracted) - len(batch)
        return frozenset(range(y - count, y))
    if equation.primitive.name == "conv_general_dilated":
        return frozenset({equation.params["dimension_numbers"].out_spec[1]})
    return frozenset({y - 1})


def _conv(equation: JaxprEqn) -> int:
    """Counts a conv or a gradient of one; zeros between pixels, from a stride, cost nothing."""
    options = equation.params
    (x, kernel), y = map(_shape, equation.invars), _shape(equation.outvars[0])
    numbers = options["dimension_numbers"]
    _, c_group, *taps = (kernel[axis] for axis in numbers.rhs_spec)
    positions = math.prod(y[axis] for axis in numbers.out_spec[:2])
    for of_x, of_y, spread in zip(
        numbers.lhs_spec[2:], numbers.out_spec[2:], options["lhs_dilation"], strict=True
    ):
        # a gradient to the input has more pixels than its conv, but the same cost
        positions *= x[of_x] if spread > 1 else min(x[of_x], y[of_y])
    return positions * math.prod(taps) * c_group


def _dot(equation: JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    x, y = _shape(equation.invars[0]), _shape(equation.outvars[0])
    return math.prod(y) * math.prod(x[axis] for axis in contracted)


def _own_conv(equation: JaxprEqn) -> int:
    return equation.params["shape"].macs


def _own_activated_conv(equation: JaxprEqn) -> int:
    options, (x, kernel, *_) = equation.params["options"], (v.aval for v in equation.invars)
    return options.shape(x, kernel).macs


def _conv_in_forms(equation: JaxprEqn) -> int:
    kernel = _shape(equation.invars[1])
    return math.prod(_shape(equation.outvars[0])) * math.prod(kernel[-4:-1])


def _is_conv_in_forms(equation: JaxprEqn) -> bool:
    """Whether this is a whole conv of `convs.grouped_conv`, with only elementwise operations.

    Other forms contain products, which are counted inside; so do the gradients.
    """
    is_call = equation.params.get("name") == "grouped_conv_in_forms"
    if not is_call or len(equation.invars) != 2 or len(equation.outvars) != 1:
        return False
    return not any(_has_products(jaxpr) for jaxpr in _jaxprs(equation.params))


def _has_products(jaxpr: Jaxpr) -> bool:
    return any(
        x.primitive.name in _MACS or any(map(_has_products, _jaxprs(x.params))) for x in jaxpr.eqns
    )


_MACS: dict[str, Callable[[JaxprEqn], int]] = {
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "grouped_conv": _own_conv,
    "grouped_conv_input_gradient": _own_conv,
    "grouped_conv_filter_gradient": _own_conv,
    "activated_conv": _own_activated_conv,
}
_POOLINGS = ("reduce_window_max",)
