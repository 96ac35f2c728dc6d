"""One network's cost for one image by three counters side by side, and why they differ.

The counters know nothing of one another: `arch.count` does arithmetic on the description, the
second reads the jaxpr of the Flax module, the third the program that XLA gets. None needs an
accelerator.
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
    what: str  # was counted
    flops: int | None
    params: int | None
    acts: int | None
    note: str  # why it differs from the arithmetic; empty: it does not


class Traceable(NamedTuple):
    """A function of variables and images, and the shapes of those."""

    function: Callable[[Any, Any], Any]
    variables: Any
    images: Any


def counted(network: Architecture, counters: Sequence[str]) -> tuple[list[Row], dict[str, Any]]:
    """Counts a network.

    Args:
        network: what to count.
        counters: some of `COUNTERS`.

    Returns:
        The rows of the table; and all figures by counter, ready for JSON.
    """
    wanted, rows, figures = count(network), [], {}
    for counter in counters:
        of, content = _COUNTS[counter](network, wanted)
        rows += of
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
    result.add_column("of")
    for header in ("flops", "params", "acts"):
        result.add_column(header, justify="right")
    result.add_column("note", justify="right")
    for row in rows:
        figures = ("" if x is None else f"{x:,}" for x in row[2:5])
        note = str(notes.index(row.note) + 1) if row.note else ""
        result.add_row(row.counter, row.what, *figures, note)
    return result


def forward(network: Architecture, grouped_conv: str = "lax") -> Traceable:
    """Returns a network's evaluation of one image, as a function, and what to call it with.

    Args:
        network: what to build.
        grouped_conv: implementation of the spatial convs; `lax` leaves each one operation of XLA's.

    """
    model = build(network, grouped_conv=grouped_conv)
    images = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)

    def apply(variables: Any, x: Any) -> Any:
        return model.apply(variables, x, train=False)

    variables = jax.eval_shape(functools.partial(initial_variables, model), jax.random.key(0))
    return Traceable(apply, variables, images)


def gradient(network: Architecture, grouped_conv: str = "lax") -> Traceable:
    """Returns a network's loss on one image with its gradient, as `forward` does the evaluation."""
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

    def both(variables: Any, x: Any) -> Any:
        others = {key: value for key, value in variables.items() if key != "params"}
        return jax.value_and_grad(loss)(variables["params"], others, x)

    return Traceable(both, variables, images)


def _analytic(network: Architecture, wanted: Complexity) -> tuple[list[Row], dict[str, Any]]:
    del network
    return [Row("analytic", "the network", *wanted, "")], wanted._asdict()


def _jaxpr(network: Architecture, wanted: Complexity) -> tuple[list[Row], dict[str, Any]]:
    once, step = forward(network, "auto"), jaxpr.count(*gradient(network, "auto"))
    cost = jaxpr.count(*once, params=once.variables["params"])
    note = "" if cost == wanted else "the module is not what is described: please report this"
    rows = [
        Row("jaxpr", "the network", *cost, note),
        Row("jaxpr", "and its gradient", step.flops, None, None, _of_gradient(network, step.flops)),
    ]
    return rows, {**cost._asdict(), "gradient_flops": step.flops}


def _of_gradient(network: Architecture, flops: int) -> str:
    network_layers = list(layers(network))
    biases, stem = _biases(network), network_layers[0].flops
    whole = count(network).flops
    is_so = flops == 3 * (whole - biases) + biases - stem
    reason = (
        ": each conv and product once more for its input and once for its weights, but none for "
        f"the image ({stem:,}); a bias's gradient ({biases:,}) is a sum, which counts nothing"
    )
    return f"{flops / whole:.4f} times the network" + (reason if is_so else "")


def _xla(network: Architecture, wanted: Complexity) -> tuple[list[Row], dict[str, Any]]:
    lowered, step = (_lowered(of(network)) for of in (forward, gradient))
    cost = hlo.with_buffers(hlo.count_lowered(lowered), lowered.compile())
    of_step = hlo.count_lowered(step)
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
            "the same, as XLA counts",
            2 * cost.macs_inside,
            None,
            None,
            f"two flops a multiply-add, and none for the {padding:,} ({padding / cost.macs:.1%}) "
            "that meet the padding",
        ),
    ]
    if cost.flops is not None:
        others = cost.flops - 2 * cost.macs_inside
        note = f"and {others:,} elementwise operations and sums: BatchNorm, activations, means"
        rows.append(Row("xla", "all, as XLA counts", cost.flops, None, None, note + _bytes(cost)))
    rows.append(Row("xla", "and its gradient", of_step.macs, None, None, _EXPANDED))
    said = {key: value for key, value in cost._asdict().items() if key != "operations"}
    content = {
        "flops": cost.macs,
        "acts": cost.acts,
        "flops_without_padding": cost.macs_inside,
        "xla_flops": said.pop("flops"),
        "gradient_flops": of_step.macs,
        **said,
    }
    return rows, content


_EXPANDED = (
    "convs and products as they are written; compiled for a CPU, XLA's own filter gradient of a "
    "grouped conv is a dense one, of many times the flops, which ours is not"
)


def _lowered(program: Traceable) -> jax.stages.Lowered:
    return jax.jit(program.function).lower(program.variables, program.images)


def _bytes(cost: hlo.XlaCount) -> str:
    said = ""
    if cost.bytes_accessed is not None:
        said += f"; {cost.bytes_accessed:,} bytes read and written, each operation for itself"
    if cost.temp_bytes is not None:
        said += (
            f"; compiled for this CPU, {cost.argument_bytes:,} bytes of arguments, "
            f"{cost.temp_bytes:,} in between, {cost.output_bytes:,} of results"
        )
    return said


def _of_biases(missing: int, biases: int) -> str:
    if not missing:
        return ""
    if missing == biases:
        return f"biases ({biases:,}) are additions of their own to XLA"
    return f"{missing:,} fewer than described, of which biases are {biases:,}: please report this"


def _biases(network: Architecture) -> int:
    """Flops of biases, which dense layers have: those whose kernel has no side."""
    return sum(layer.width for layer in layers(network) if not layer.kernel and layer.c_group)


_COUNTS: Mapping[str, Callable[[Architecture, Complexity], tuple[list[Row], dict[str, Any]]]] = {
    "analytic": _analytic,
    "jaxpr": _jaxpr,
    "xla": _xla,
}
