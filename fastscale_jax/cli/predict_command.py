"""`fastscale predict`: what the network sees in images."""

import json
import pathlib

from fastscale_jax.cli.options import Config, OptionalPath, Output, Session, run_of
from fastscale_jax.utils.console import OK, USAGE_ERROR, complain, print_table


def predict(
    input: OptionalPath = None,  # noqa: A002 # the flag's name
    *,
    config: Config = None,
    workdir: OptionalPath = None,
    format: Output = "table",  # noqa: A002 # likewise
    session: Session = Session(),
) -> int:
    """Prints what the network sees in images. Returns the exit status.

    Args:
        input: An image, or a folder of images with folders in it.
        config: a recipe.
        workdir: Folder of a run, whose latest checkpoint is used. Without a checkpoint, the weights
            of --config.init_from are.
        format: json prints one object on stdout.
        session: see `Session`.
    """
    session.start(compiles=True)
    from fastscale_jax.data.sources.images import find_images
    from fastscale_jax.interop import prediction
    from fastscale_jax.models import build
    from fastscale_jax.runs.start import images_of, load_for

    if not input:
        raise ValueError("predict needs --input: an image, or a folder of images")
    run = run_of(config, workdir)
    files = find_images(pathlib.Path(input))
    weights = load_for(run)
    recipe = run.recipe
    model = build(run.network, dtype=recipe.dtype, grouped_conv=recipe.grouped_conv)
    images = images_of(run, weights)
    predictions = list(
        prediction.predict(model, weights.variables, files, images.conventions, images.classes)
    )
    for problem in filter(None, (p.problem for p in predictions)):
        complain(problem)
    seen = [p for p in predictions if not p.problem]
    if format == "json":
        origin = {"network": run.network.name, "weights": weights.description}
        print(json.dumps({**origin, "predictions": prediction.describe(seen)}))
    elif seen:
        print(f"{run.network.name}, weights from {weights.description}")
        print_table(prediction.predictions_table(seen))
    return OK if len(seen) == len(predictions) else USAGE_ERROR
