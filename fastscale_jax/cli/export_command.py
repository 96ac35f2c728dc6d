"""`fastscale export`: the network in files, to be used without this package."""

import json
import pathlib
from typing import Literal

from fastscale_jax.cli.options import Config, OptionalPath, Output, Session, run_of
from fastscale_jax.utils.console import OK


def export(
    config: Config = None,
    *,
    workdir: OptionalPath = None,
    output: OptionalPath = None,
    names: Literal["fastscale_jax", "pycls", "timm", "torchvision"] = "fastscale_jax",
    format: Output = "table",  # noqa: A002 # the flag has this name
    session: Session = Session(),
) -> int:
    """Writes the network to files that need none of this package. Returns the exit status.

    Args:
        config: a recipe.
        workdir: Folder of a run, whose latest checkpoint is taken. Without a checkpoint, the
            weights of --config.init_from are.
        output: Folder to write to.
        names: Naming scheme of the tensors in weights.safetensors.
        format: json prints one object on stdout.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.interop.exporting import export_network
    from fastscale_jax.runs.start import images_of, load_for

    if not output:
        raise ValueError("export needs --output: a folder to write to")
    folder = pathlib.Path(output)  # Python callers give strings
    if folder.is_file():
        raise ValueError(f"--output={output} is a file; give a folder to write to")
    run = run_of(config, workdir)
    weights = load_for(run)
    files = export_network(
        folder,
        run.network,
        weights.variables,
        images=images_of(run, weights),
        config=run.config,
        dtype=run.recipe.dtype,
        grouped_conv=run.recipe.grouped_conv,
        names=names,
    )
    if format == "json":
        origin = {"network": run.network.name, "weights": weights.description}
        print(json.dumps({**origin, "files": [str(file) for file in files]}))
    else:
        print(f"{run.network.name}, weights from {weights.description}")
        print("\n".join(map(str, files)))
    return OK
