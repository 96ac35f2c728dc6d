"""--mode=predict: what the network sees in images."""

import json

from fastscale_jax.cli.common import (
    OK,
    USAGE_ERROR,
    Config,
    Options,
    checked,
    class_names_of,
    complain,
    print_table,
    usage_error,
)
from fastscale_jax.data.sources.images import find_images
from fastscale_jax.interop import prediction
from fastscale_jax.models import build
from fastscale_jax.runs.start import conventions_for, load_for


def run(config: Config, options: Options) -> int:
    """Prints what the network sees in the images of `--input`."""
    if not options.input:
        return usage_error("--mode=predict needs --input: an image, or a folder of images")
    try:
        network, recipe = checked(config)
        files = find_images(options.input)
        weights = load_for(config, options.workdir)
        model = build(network, dtype=recipe.dtype, grouped_conv=recipe.grouped_conv)
    except ValueError as error:
        return usage_error(str(error))
    conventions = conventions_for(weights, recipe.data.name)
    classes = class_names_of(network, recipe)
    found = list(prediction.predict(model, weights.variables, files, conventions, classes))
    for problem in filter(None, (p.problem for p in found)):
        complain(problem)
    seen = [p for p in found if not p.problem]
    if options.as_json:
        origin = {"network": network.name, "weights": weights.description}
        print(json.dumps({**origin, "predictions": prediction.describe(seen)}))
    elif seen:
        print(f"{network.name}, weights from {weights.description}")
        print_table(prediction.table(seen))
    return OK if len(seen) == len(found) else USAGE_ERROR
