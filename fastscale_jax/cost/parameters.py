"""A network's arrays of parameters: names, shapes, sizes, and statistics of their values.

The shapes come from tracing the Flax module: no array is created. The sizes add up to
`arch.count(network).params`. BatchNorm's running statistics are not parameters.
"""

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview

from fastscale_jax.arch import Architecture, layers
from fastscale_jax.models import build

if TYPE_CHECKING:
    from rich.table import Table

Tree = Any  # of arrays, or of their shapes


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One array of parameters.

    Attributes:
        name: the layer's name as in `arch.layers`, and the array's: `s2.b1.se.reduce.kernel`.
        shape: its shape in Flax.
        dtype: NumPy's name of it.
        size: number of elements.
        mean: mean of its elements; None: the values are unknown.
        std: standard deviation of its elements; None: the values are unknown.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    mean: float | None = None
    std: float | None = None


def shapes(network: Architecture) -> Tree:
    """Returns the shapes of the Flax module's `params`, as a tree; creates no array."""
    init = functools.partial(build(network).init, train=False)
    key = jax.eval_shape(lambda: jax.random.key(0))
    images = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
    return jax.eval_shape(init, key, images)["params"]


def parameters(network: Architecture, params: Tree = None) -> list[Parameter]:
    """Returns a network's arrays of parameters in the order of its layers.

    Args:
        network: the network.
        params: its weights, unsharded on this host, or their shapes; None: shapes from the network.
            Means and standard deviations are computed if there are values.
    """
    params = shapes(network) if params is None else params
    arrays = parameter_overview.flatten_dict(params, delimiter=".")
    order = {layer.name: index for index, layer in enumerate(layers(network))}
    names = sorted(arrays, key=lambda name: (order[_layer(name)], name))
    return [_described(name, arrays[name]) for name in names]


def rows(network: Architecture, params: Tree = None) -> list[dict[str, Any]]:
    """Returns the arrays of `parameters` as JSON values.

    Args:
        network: as in `parameters`.
        params: as in `parameters`.

    Returns:
        For each array `name`, `shape`, `dtype` and `size`; if the values are known also `mean` and
        `std`, null if they are not finite.
    """
    records = []
    for parameter in parameters(network, params):
        row = {**dataclasses.asdict(parameter), "shape": list(parameter.shape)}
        for name in ("mean", "std"):
            value = row.pop(name)
            if value is not None:
                row[name] = value if math.isfinite(value) else None
        records.append(row)
    return records


def parameters_table(network: Architecture, params: Tree = None) -> "Table":
    """Returns the arrays of `parameters` as a table, with their total.

    Args:
        network: as in `parameters`.
        params: as in `parameters`.
    """
    # imported late, so that `rows` works without it
    from rich.table import Table

    arrays = parameters(network, params)
    total = f"{sum(parameter.size for parameter in arrays):,}"
    result = Table(
        title=f"parameters of {network.name}",
        caption=overview(network, params),
        show_footer=True,
    )
    result.add_column("name", footer="total")
    result.add_column("shape", justify="right")
    result.add_column("size", footer=total, justify="right")
    columns = _value_columns(arrays)
    for name in columns:
        result.add_column(name, justify="right")
    for parameter in arrays:
        shape = " x ".join(map(str, parameter.shape))
        values = (getattr(parameter, name) for name in columns)
        cells = ("" if x is None else f"{x:.3g}" for x in values)
        result.add_row(parameter.name, shape, f"{parameter.size:,}", *cells)
    return result


def text(network: Architecture, params: Tree = None, *, max_lines: int | None = None) -> str:
    """Returns the arrays of `parameters` as a plain-text table, for a log or a file.

    Args:
        network: as in `parameters`.
        params: as in `parameters`.
        max_lines: largest number of lines of the table; the line below it still counts all arrays.
    """
    arrays = parameters(network, params)
    names = ["name", "shape", "dtype", "size", *_value_columns(arrays)]
    lines = parameter_overview.make_table(arrays, column_names=names, max_lines=max_lines)
    return f"{lines}\n{overview(network, params)}"


def overview(network: Architecture, params: Tree = None) -> str:
    """Returns a line with the number and the size of a network's parameters, for a run to print.

    No values are read, so it does not wait for a device.

    Args:
        network: as in `parameters`.
        params: as in `parameters`; with them nothing is traced.

    Returns:
        For instance `281 arrays, 7,092,822 parameters, 28.37 MB`.
    """
    arrays = jax.tree.leaves(shapes(network) if params is None else params)
    size = sum(x.size * x.dtype.itemsize for x in arrays)
    return f"{len(arrays)} arrays, {sum(x.size for x in arrays):,} parameters, {_bytes(size)}"


def _layer(name: str) -> str:
    """The layer of an array; BatchNorm is part of its conv's layer."""
    return name.rpartition(".")[0].removesuffix(".bn")


def _described(name: str, array: Any) -> Parameter:
    known = Parameter(name, tuple(array.shape), str(array.dtype), array.size)
    if isinstance(array, jax.ShapeDtypeStruct):
        return known
    values = np.asarray(jax.device_get(array), np.float64)
    with np.errstate(invalid="ignore"):  # a diverged run's weights may be NaN
        return dataclasses.replace(known, mean=float(values.mean()), std=float(values.std()))


def _value_columns(arrays: list[Parameter]) -> tuple[str, ...]:
    """The names of the columns of values; empty: the values are unknown."""
    return ("mean", "std") if any(parameter.mean is not None for parameter in arrays) else ()


def _bytes(size: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:,.4g} {name}"
    return f"{size / 1000:,.4g} kB"
