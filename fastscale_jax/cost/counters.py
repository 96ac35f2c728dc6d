"""Counts the cost of a network for one image by three counters, and explains the differences.

The counters are independent: `arch.count` computes from the architecture, the second reads the
jaxpr of the Flax module, the third reads the program given to XLA. None needs an accelerator.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from fastscale_jax.arch import Architecture, Complexity, count, layers
from fastscale_jax.cost import hlo, jaxpr
from fastscale_jax.models import build, initial_variables

if TYPE_CHECKING:
    from rich.table import Table

COUNTERS = ("analytic", "jaxpr", "xla")


class Row(NamedTuple):
    """The figures of one counter; None: it does not count this."""

    counter: str
    what: str  # what was counted
    flops: int | None
    params: int | None
    acts: int | None
    note: str  # why it differs from `analytic`; empty: it does not


class Traceable(NamedTuple):
    """A function of variables and images, and the shapes of its arguments."""

    function: Callable[[Any, Any], Any]
    variables: Any
    images: Any


def counted(network: Architecture, counters: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """Counts a network.

    Args:
        network: the network to count.
        counters: some of `COUNTERS`.

    Returns:
        The rows of the table; and all figures by counter, as JSON values.
    """
    wanted, rows, figures = count(network), [], {}
    for counter in counters:
        counter_rows, content = _COUNTS[counter](network, wanted)
        rows += counter_rows
        figures[counter] = content
    return rows, figures


def counters_table(rows: Sequence[Row]) -> "Table":
    """Returns the rows as a table, with their notes below it."""
    from rich.table import Table

    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    lines = [f"{i}  {note}" for i, note in enumerate(notes, start=1)]
    result = Table(
        title="counters, for one image",
        caption="\n".join(lines),
        caption_justify="left",
    )
    result.add_column("counter")
    result.add_column("counted")
    for header in ("flops", "params", "acts"):
        result.add_column(header, justify="right")
    result.add_column("note", justify="right")
    for row in rows:
        figures = ("" if x is None else f"{x:,}" for x in row[2:5])
        note = str(notes.index(row.note) + 1) if row.note else ""
        result.add_row(row.counter, row.what, *figures, note)
    return result


def forward(network: Architecture, grouped_conv: str = "lax") -> Traceable:
    """Returns the function that evaluates a network on one image, with its arguments' shapes.

    Args:
        network: the network to build.
        grouped_conv: implementation of the spatial convs; with `lax` each is one XLA operation.

    """
    model = build(network, grouped_conv=grouped_conv)
    images = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)

    def apply(variables: Any, x: Any) -> Any:
        return model.apply(variables, x, train=False)

    variables = jax.eval_shape(functools.partial(initial_variables, model), jax.random.key(0))
    return Traceable(apply, variables, images)


def gradient(network: Architecture, grouped_conv: str = "lax") -> Traceable:
    """Returns the function of a network's loss on one image and its gradient, as `forward`."""
    model, (_, variables, images) = build(network, grouped_conv=grouped_conv), forward(network)

    def loss(params: Any, others: Any, x: Any) -> Any:
        logits, _ = model.apply(
            {"params": params, **others},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return -jax.nn.log_softmax(logits)[0, 0]

    def loss_and_gradient(variables: Any, x: Any) -> Any:
        others = {key: value for key, value in variables.items() if key != "params"}
        return jax.value_and_grad(loss)(variables["params"], others, x)

    return Traceable(loss_and_gradient, variables, images)


def _analytic(network: Architecture, wanted: Complexity) -> tuple[list[Row], dict[str, Any]]:
    del network
    return [Row("analytic", "the network", *wanted, "")], wanted._asdict()


def _jaxpr(network: Architecture, wanted: Complexity) -> tuple[list[Row], dict[str, Any]]:
    once, step = forward(network, "auto"), jaxpr.count(*gradient(network, "auto"))
    cost = jaxpr.count(*once, params=once.variables["params"])
    note = "" if cost == wanted else "the module differs from the architecture: please report this"
    rows = [
        Row("jaxpr", "the network", *cost, note),
        Row(
            "jaxpr", "with its gradient", step.flops, None, None, _of_gradient(network, step.flops)
        ),
    ]
    return rows, {**cost._asdict(), "gradient_flops": step.flops}


def _of_gradient(network: Architecture, flops: int) -> str:
    network_layers = list(layers(network))
    biases, stem = _biases(network), network_layers[0].flops
    whole = count(network).flops
    is_explained = flops == 3 * (whole - biases) + biases - stem
    reason = (
        ": each conv and product costs the same again for each of its two gradients; the image "
        f"needs none ({stem:,}); a bias's gradient ({biases:,}) is a sum, which is not counted"
    )
    return f"{flops / whole:.4f} times the network" + (reason if is_explained else "")


def _xla(network: Architecture, wanted: Complexity) -> tuple[list[Row], dict[str, Any]]:
    lowered, step = (_lowered(of(network)) for of in (forward, gradient))
    cost = hlo.with_buffers(hlo.count_lowered(lowered), lowered.compile())
    step_cost = hlo.count_lowered(step)
    padding, biases = cost.macs - cost.macs_inside, _biases(network)
    rows = [
        Row(
            "xla",
            "convs and products",
            cost.macs,
            None,
            cost.acts,
            _of_biases(wanted.flops - cost.macs, biases),
        ),
        Row(
            "xla",
            "the same, by XLA's count",
            2 * cost.macs_inside,
            None,
            None,
            f"two flops per multiply-add, without the {padding:,} ({padding / cost.macs:.1%}) on "
            "padding",
        ),
    ]
    if cost.flops is not None:
        others = cost.flops - 2 * cost.macs_inside
        note = f"with {others:,} elementwise operations and sums: BatchNorm, activations, means"
        rows.append(Row("xla", "all, by XLA's count", cost.flops, None, None, note + _bytes(cost)))
    rows.append(Row("xla", "with its gradient", step_cost.macs, None, None, _EXPANDED))
    xla_figures = {key: x for key, x in cost._asdict().items() if key != "operations"}
    content = {
        "flops": cost.macs,
        "acts": cost.acts,
        "flops_without_padding": cost.macs_inside,
        "xla_flops": xla_figures.pop("flops"),
        "gradient_flops": step_cost.macs,
        **xla_figures,
    }
    return rows, content


_EXPANDED = (
    "convs and products before compilation; compiled for a CPU, XLA's own filter gradient of a "
    "grouped conv is dense, with many times the flops; ours is not"
)


def _lowered(program: Traceable) -> jax.stages.Lowered:
    return jax.jit(program.function).lower(program.variables, program.images)


def _bytes(cost: hlo.XlaCount) -> str:
    note = ""
    if cost.bytes_accessed is not None:
        note += f"; {cost.bytes_accessed:,} bytes read and written, without fusion"
    if cost.temp_bytes is not None:
        note += (
            f"; compiled for this CPU, {cost.argument_bytes:,} bytes of arguments, "
            f"{cost.temp_bytes:,} of temporaries, {cost.output_bytes:,} of results"
        )
    return note


def _of_biases(missing: int, biases: int) -> str:
    if not missing:
        return ""
    if missing == biases:
        return f"to XLA, biases ({biases:,}) are separate additions"
    return f"{missing:,} fewer than described, of which biases are {biases:,}: please report this"


def _biases(network: Architecture) -> int:
    """Flops of biases; only dense layers, whose `kernel` is 0, have them."""
    return sum(layer.width for layer in layers(network) if not layer.kernel and layer.c_group)


_COUNTS: Mapping[str, Callable[[Architecture, Complexity], tuple[list[Row], dict[str, Any]]]] = {
    "analytic": _analytic,
    "jaxpr": _jaxpr,
    "xla": _xla,
}
