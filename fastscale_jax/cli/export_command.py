"""--mode=export: the network in files, to be used without this package."""

import json

from fastscale_jax.cli.common import OK, Config, Options, checked, class_names_of, usage_error
from fastscale_jax.interop.exporting import export_network
from fastscale_jax.runs.start import conventions_for, load_for


def run(config: Config, options: Options) -> int:
    """Writes the network to `--output`, to be used without this package."""
    if not options.output:
        return usage_error("--mode=export needs --output: a folder to write to")
    folder = options.output
    if folder.is_file():
        return usage_error(f"--output={folder} is a file; give a folder to write to")
    try:
        network, recipe = checked(config)
        weights = load_for(config, options.workdir)
        files = export_network(
            folder,
            network,
            weights.variables,
            conventions=conventions_for(weights, recipe.data.name),
            classes=class_names_of(network, recipe),
            dtype=recipe.dtype,
            grouped_conv=recipe.grouped_conv,
            names=options.names,
        )
    except ValueError as error:
        return usage_error(str(error))
    if options.as_json:
        origin = {"network": network.name, "weights": weights.description}
        print(json.dumps({**origin, "files": [str(file) for file in files]}))
    else:
        print(f"{network.name}, weights from {weights.description}")
        print("\n".join(map(str, files)))
    return OK
