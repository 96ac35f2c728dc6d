"""`fastscale export`: the network in files, to be used without this package."""

import json
import pathlib
from typing import Literal

from fastscale_jax.cli.options import Config, Output, Session, run_of
from fastscale_jax.utils.console import OK, usage_error


def export(
    config: Config = None,
    *,
    workdir: pathlib.Path | None = None,
    output: pathlib.Path | None = None,
    names: Literal["fastscale_jax", "pycls", "timm", "torchvision"] = "fastscale_jax",
    format: Output = "table",  # noqa: A002 # the flag has this name
    session: Session = Session(),
) -> int:
    """Writes the network to files that need none of this package. Returns the exit status.

    Args:
        config: a recipe.
        workdir: Of a run, whose latest checkpoint is taken. Without a checkpoint, the weights of
            --config.init_from are.
        output: Folder to write to.
        names: Whose names the tensors in weights.safetensors have.
        format: json prints one object on stdout.
        session: see `Session`.
    """
    from fastscale_jax.interop.exporting import export_network
    from fastscale_jax.runs.start import conventions_for, load_for

    if not output:
        return usage_error("export needs --output: a folder to write to")
    if output.is_file():
        return usage_error(f"--output={output} is a file; give a folder to write to")
    try:
        run = run_of(config, workdir)
        weights = load_for(run)
        files = export_network(
            output,
            run.network,
            weights.variables,
            conventions=conventions_for(weights, run.recipe.data.name),
            classes=run.class_names,
            dtype=run.recipe.dtype,
            grouped_conv=run.recipe.grouped_conv,
            names=names,
        )
    except ValueError as error:
        return usage_error(str(error))
    if format == "json":
        origin = {"network": run.network.name, "weights": weights.description}
        print(json.dumps({**origin, "files": [str(file) for file in files]}))
    else:
        print(f"{run.network.name}, weights from {weights.description}")
        print("\n".join(map(str, files)))
    return OK
