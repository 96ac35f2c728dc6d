"""--mode=program: what a compiled program is made of, here or on a device that is not here."""

import dataclasses
import json

from fastscale_jax.arch import Architecture
from fastscale_jax.cli.common import (
    FAILURE,
    OK,
    Config,
    Options,
    checked,
    complain,
    print_table,
    usage_error,
)
from fastscale_jax.cli.status_line import shown_progress
from fastscale_jax.targets.compiler import FailedError, Tell
from fastscale_jax.targets.figures import program_figures
from fastscale_jax.targets.program import Program
from fastscale_jax.targets.program_table import table
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target
from fastscale_jax.train.batch import check_batch_is_known
from fastscale_jax.train.recipe import Recipe


def run(config: Config, options: Options) -> int:
    """Prints memory, kernels, bytes, collectives and the floor of a program."""
    limit = int(options.memory_gb * 1e9) if options.memory_gb else None
    try:
        target = Target.parse(options.target) if options.target else None
        network, recipe = checked(config)
        store = Store(options.store) if options.store else None
        with shown_progress() as tell:
            if not recipe.data.batch_size:
                recipe = _filled(network, recipe, target, options.part, limit, store, tell)
            program = Program(network, recipe, target, options.part)
            found = program_figures(program, store=store, usable_bytes=limit, tell=tell)
    except ValueError as error:
        return usage_error(str(error))
    except FailedError as error:
        complain(str(error))
        return FAILURE
    if options.as_json:
        print(json.dumps(found))
    else:
        print_table(table(found))
    return OK


def _filled(
    network: Architecture,
    recipe: Recipe,
    target: Target | None,
    part: str,
    limit: int | None,
    store: Store | None,
    tell: Tell,
) -> Recipe:
    """The recipe with the largest batch that fits.

    Raises:
        ValueError: it is for the devices here, or for inference; or not even the smallest fits.
    """
    if target is None or part != "step":
        check_batch_is_known(recipe)
    assert target is not None
    from fastscale_jax.targets.largest import largest_batch

    limit = limit or target.usable_bytes
    found = largest_batch(network, recipe, target, limit, store=store, tell=tell)
    return dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data, batch_size=found.images)
    )
