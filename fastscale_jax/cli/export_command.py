"""`fastscale export`: writes a network to files that work without this package."""

import json
from typing import Literal

from fastscale_jax.arch.spelling import meant
from fastscale_jax.cli.options import Config, OptionalPath, Output, Session, run_of
from fastscale_jax.utils.console import OK, complain, printable
from fastscale_jax.utils.paths import at_home


def export(
    config: Config = None,
    *,
    workdir: OptionalPath = None,
    output: OptionalPath = None,
    formats: str = "stablehlo",
    stored_dtype: Literal["float32", "float16"] = "float32",
    names: Literal[
        "fastscale_jax", "pycls", "timm", "torchvision", "efficientnet_pytorch", "keras"
    ] = "fastscale_jax",
    format: Output = "table",  # noqa: A002 # the flag has this name
    session: Session = Session(),
) -> int:
    """Writes the network to files that work without this package. Returns the exit status.

    Args:
        config: a recipe.
        workdir: Folder of a run; its latest checkpoint is exported. Without a checkpoint, the
            weights of --config.init_from are exported.
        output: Folder to write to.
        formats: stablehlo, onnx and tflite, with commas between. onnx needs the extra onnx. tflite
            needs TensorFlow, which is in the extra data.
        stored_dtype: Type of the weights in model.onnx and model.tflite; float16 halves their size.
        names: Naming scheme of the tensors in weights.safetensors; keras writes model.weights.h5.
        format: json prints one object on stdout.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.interop.exporting import export_network
    from fastscale_jax.interop.formats import FORMATS, check_formats
    from fastscale_jax.runs.start import images_of, load_for

    if not output:
        raise ValueError("export needs --output: a folder to write to")
    folder = at_home(output)  # Python callers give strings
    if folder.is_file():
        raise ValueError(f"--output={output} is a file; give a folder to write to")
    chosen = list(dict.fromkeys(meant(name, FORMATS) for name in formats.split(",")))
    check_formats(chosen)
    if stored_dtype != "float32" and chosen == ["stablehlo"]:
        raise ValueError(f"--stored_dtype={stored_dtype} is for --formats=onnx and tflite")
    run = run_of(config, workdir)
    run, weights = load_for(run)
    files = export_network(
        folder,
        run.network,
        weights.variables,
        images=images_of(run, weights),
        config=run.config,
        dtype=run.recipe.dtype,
        grouped_conv=run.recipe.grouped_conv,
        names=names,
        formats=chosen,
        stored_dtype=stored_dtype,
    )
    if format == "json":
        origin = {"network": run.network.name, "weights": weights.account}
        print(json.dumps({**origin, "files": [str(file) for file in files]}))
    else:
        print(printable(f"{run.network.name}, weights from {weights.account}"))
        print("\n".join(printable(str(file)) for file in files))
    for earlier in (folder / known.file for known in FORMATS.values()):
        if earlier.exists() and earlier not in files:
            complain(f"{earlier} is from an earlier export and was not changed")
    return OK
