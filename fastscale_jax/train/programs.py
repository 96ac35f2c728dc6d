"""The compiled programs of a task, shared by all runs of a process.

Tracing and lowering a step takes seconds even if its compiled form is in the cache. So a second run
of the same task in a process, with another seed for example, uses the programs of the first. They
stay in memory when a run ends.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

from fastscale_jax.train.step import Task
from fastscale_jax.utils import compiling

_KEPT = 10  # two tasks': a search trains hundreds of networks in a process


def program(
    function: Callable[..., Any],
    task: Task,
    layout: Any = None,
    *,
    donates: bool = False,
    hasty: bool = False,
) -> Any:
    """Returns a jitted function; the same one for equal arguments, while it is kept.

    Args:
        function: called with the task and arrays; must depend on nothing else.
        task: of `Task.of`.
        layout: shardings of the result, a tree of them; None: as the arrays are.
        donates: whether the first array's buffers are donated.
        hasty: whether it runs once, so that optimising would cost more time than it saves.
    """
    leaves, structure = jax.tree.flatten(layout)
    return _jitted(function, task, tuple(leaves), structure, donates, hasty)


@functools.lru_cache(maxsize=_KEPT)
def _jitted(
    function: Callable[..., Any],
    task: Task,
    leaves: tuple[Any, ...],
    structure: Any,
    donates: bool,
    hasty: bool,
) -> Any:
    return jax.jit(
        functools.partial(function, task),
        out_shardings=structure.unflatten(leaves),
        donate_argnums=0 if donates else (),
        compiler_options=compiling.hasty() if hasty else None,
    )


def forget() -> None:
    """Drops the kept programs."""
    _jitted.cache_clear()
