"""Scales convolutional networks to a budget, counts their costs, and trains them, in JAX.

    import fastscale_jax as fs

    model, variables = fs.create_model("regnety:400mf", num_classes=10)
    logits = model.apply(variables, images, train=False)

This module has everything of `api`, and the subpackages, as in `fs.arch`. Both are imported on
first use: `import fastscale_jax` takes no time and does not import JAX.
"""

__version__ = "0.2.0"

TYPE_CHECKING = False  # like typing.TYPE_CHECKING, but importing typing takes time
if TYPE_CHECKING:
    from fastscale_jax.api import Classifier as Classifier
    from fastscale_jax.api import Complexity as Complexity
    from fastscale_jax.api import Source as Source
    from fastscale_jax.api import count as count
    from fastscale_jax.api import create_model as create_model
    from fastscale_jax.api import evaluate as evaluate
    from fastscale_jax.api import from_arrays as from_arrays
    from fastscale_jax.api import from_csv as from_csv
    from fastscale_jax.api import from_examples as from_examples
    from fastscale_jax.api import from_folder as from_folder
    from fastscale_jax.api import list_models as list_models
    from fastscale_jax.api import load as load
    from fastscale_jax.api import model_config as model_config
    from fastscale_jax.api import recipe as recipe
    from fastscale_jax.api import save as save
    from fastscale_jax.api import scale as scale
    from fastscale_jax.api import torch_twin as torch_twin
    from fastscale_jax.api import train as train

_SUBPACKAGES = ("arch", "checkpoints", "convs", "cost", "data", "distributed", "interop", "logs")
_SUBPACKAGES += ("measure", "models", "report", "runs", "search", "targets", "train", "utils")


def __getattr__(name: str) -> object:
    import importlib

    if name in _SUBPACKAGES:  # also `train`, which is a callable module: see its docstring
        return importlib.import_module(f"fastscale_jax.{name}")
    if not name.startswith("_"):
        api = importlib.import_module("fastscale_jax.api")
        if name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"module 'fastscale_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    import importlib

    api = importlib.import_module("fastscale_jax.api")
    return sorted({*globals(), *api.__all__, *_SUBPACKAGES})
