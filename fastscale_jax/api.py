"""The public API of `import fastscale_jax as fs`: networks, weights and training.

docs/python.md is its guide.
"""

import fnmatch
import functools
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from fastscale_jax import arch
from fastscale_jax.arch import FAMILIES, Architecture, Complexity, as_architecture
from fastscale_jax.arch.size_limits import check_cost
from fastscale_jax.arch.validation import check_text
from fastscale_jax.data.sources.own import from_arrays, from_csv, from_examples, from_folder
from fastscale_jax.data.sources.source import Source
from fastscale_jax.runs.arguments import (
    check_source,
    checked_seed,
    checked_variables,
    override_items,
)
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.paths import at_home
from fastscale_jax.utils.python_names import keys_without_dashes

if TYPE_CHECKING:
    from fastscale_jax.interop.classifier import Classifier
    from fastscale_jax.interop.torch_twin import Twin
    from fastscale_jax.models import Network

__all__ = [
    "Classifier",
    "Complexity",
    "Source",
    "count",
    "create_model",
    "evaluate",
    "from_arrays",
    "from_csv",
    "from_examples",
    "from_folder",
    "list_models",
    "load",
    "model_config",
    "recipe",
    "save",
    "scale",
    "torch_twin",
    "train",
]

Config = str | ConfigDict | Mapping[str, object] | Architecture
Path = str | os.PathLike[str]


def __getattr__(name: str) -> Any:
    if name == "Classifier":  # needs JAX, which listing and counting networks do not
        from fastscale_jax.interop.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'fastscale_jax.api' has no attribute {name!r}")


def list_models(pattern: str = "*", *, weights: bool = False) -> list[str]:
    """Returns the names of networks, for `create_model`.

    A name can include a scaling: `regnetz:dWr_16gf` is `regnetz:500mf` scaled to 16 GF.

    Args:
        pattern: pattern such as `regnety*` or `*:500mf`; case does not matter.
        weights: only networks with trained weights of timm on the Hugging Face hub.

    Raises:
        ValueError: the pattern is no text.

    Example:
        >>> import fastscale_jax as fs
        >>> fs.list_models("regnetz*")
        ['regnetz:500mf', 'regnetz:4gf', 'regnetz:500mf-g1']
    """
    check_text("pattern", pattern, "regnety*")
    names = [f"{family}:{base}" for family, known in FAMILIES.items() for base in known.bases]
    if weights:
        from fastscale_jax.interop.pretrained import with_weights

        names = [name for name in names if name in with_weights()]
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())]


def model_config(name: str) -> ConfigDict:
    """Returns the config of a named network, as in `config.model`.

    Args:
        name: family and variant, as in `regnetz:dWr_16gf`; the family alone is its default.

    Raises:
        ValueError: unknown name, with the grammar and the choices.
    """
    from fastscale_jax.measure.fitted import find

    check_text("name", name, "regnety:400mf")
    family, _, variant = name.partition(":")
    return arch.model_config(family, variant, device=find)


def scale(config: "Config", strategy: str, **budget: Any) -> ConfigDict:
    """Returns a network grown, or shrunk, by a strategy to one budget; see `arch.scale`.

    Args:
        config: a name, the fields of `config.model`, or an `Architecture`; not modified.
        strategy: as in `dWr` or `a0.6`.
        budget: one of `factor`, `flops`, `params`, `acts`, `step_ms`, `memory_bytes` and `phi`;
            with `step_ms` and `memory_bytes` also `device`.

    Raises:
        ValueError: as `arch.scale`.
    """
    return arch.scale(_network(config), strategy, **budget)


def count(config: "Config") -> Complexity:
    """Returns flops, parameters and activations of a network for one image; see `arch.count`.

    Args:
        config: a name, the fields of `config.model`, or an `Architecture`.

    Raises:
        ValueError: `config` describes no network.
    """
    return arch.count(_network(config))


@keys_without_dashes()
def recipe(name: Path, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """Returns a complete config: the network and its training.

    Args:
        name: a packaged recipe with a variant (`digits`, `finetune:regnety:400mf`), a file, or a
            run's `config.json`.
        overrides: values by key, as in `{"train.epochs": 3}`.

    Raises:
        ValueError: an unknown name or key, a value of another type, or overrides without keys.
    """
    changes = [f"--config.{key}={value}" for key, value in override_items(overrides)]
    return read_config(os.fspath(name), changes)


@keys_without_dashes()
def create_model(
    config: Config,
    *,
    num_classes: int | None = None,
    weights: Path | None = None,
    seed: int = 0,
    resolution: int | None = None,
    in_channels: int | None = None,
    dtype: Any = "float32",
    grouped_conv: str = "auto",
) -> "tuple[Network, dict[str, Any]]":
    """Returns a network as a Flax module, and its variables.

    Args:
        config: a name, as in `regnety:400mf` or `regnetz:dWr_16gf`; the fields of `config.model`;
            or an `Architecture`. Not modified.
        num_classes: None: the config's; 0: no classifier.
        weights: a file, a workdir or an export; weights on the Hugging Face hub, as in
            `hf:timm/regnety_004.pycls_in1k`, or `timm` for timm's default weights of this network;
            None: random weights. A last layer for another number of classes is replaced by a random
            one. If `config` is a name, padding and epsilon are the weights'.
        seed: seed of random weights.
        resolution: intended side of the images in pixels; None: the config's. The network accepts
            images of any size.
        in_channels: channels of the images; None: the config's.
        dtype: type of the computation; parameters and logits are float32.
        grouped_conv: implementation of the spatial convs, as in `models.build`.

    Returns:
        The module, and `{"params": …, "batch_stats": …}`, float32, complete.

    Raises:
        ValueError: an unknown name or dtype, a network that cannot be built, weights of another
            network, or a seed that is no whole number.

    Example:
        >>> model, variables = fs.create_model("regnetz:dWr_x0.1", num_classes=10, resolution=32)
        >>> model.apply(variables, jnp.zeros((1, 32, 32, 3)), train=False).shape
        (1, 10)
    """
    import jax

    from fastscale_jax.interop.load import load as load_weights
    from fastscale_jax.measure.limits import known_room
    from fastscale_jax.models import build, initial_variables
    from fastscale_jax.utils.compiling import hasty

    network = _network(
        config, num_classes=num_classes, resolution=resolution, in_channels=in_channels
    )
    seed = checked_seed(seed)
    check_cost(network, known_room())
    model = build(network, dtype=dtype, grouped_conv=grouped_conv)
    if weights is not None:
        left_open = _left_open(config, resolution)
        loaded = load_weights(weights, network, other_classes=True, seed=seed, left_open=left_open)
        model = build(loaded.network, dtype=dtype, grouped_conv=grouped_conv)
        if loaded.has_fresh_classifier and num_classes is None:
            warnings.warn(
                f"the last layer of {weights} is not for {network.num_classes} classes, so a "
                "random one is used; give num_classes to silence this warning",
                stacklevel=2,
            )
        return model, jax.tree.map(jax.numpy.asarray, loaded.variables)
    draw = jax.jit(functools.partial(initial_variables, model), compiler_options=hasty())
    return model, draw(jax.random.key(seed))


@keys_without_dashes()
def load(
    path: Path, config: Config | None = None, *, classes: Sequence[str] | None = None
) -> "Classifier":
    """Returns a trained network that classifies images by class name.

    Args:
        path: a workdir, one of its checkpoints, an export, a file of weights, or weights on the
            Hugging Face hub, as in `hf:timm/regnety_004.pycls_in1k`.
        config: the network, for a file that does not contain it; otherwise None.
        classes: class names in the order of their labels, for a file without them. None: those of
            ImageNet-1k for 1,000 classes, otherwise numbers.

    Raises:
        ValueError: weights that are missing, damaged or of another network, or `config` is needed.

    Example:
        >>> classify = fs.load("runs/digits")
        >>> classify("photo.png")[0].name
    """
    from fastscale_jax.interop.classifier import load as load_classifier

    network = None if config is None else _network(config)
    return load_classifier(path, network, classes, _left_open(config))


@keys_without_dashes()
def save(
    path: Path, config: Config, variables: Mapping[str, Any], *, names: str = "fastscale_jax"
) -> None:
    """Writes weights to a safetensors file, for `create_model` and `load`.

    Args:
        path: file to write; its folder is made if missing, an existing file is replaced.
        config: the network, as in `create_model`, or its module's `architecture`.
        variables: `{"params": …, "batch_stats": …}`; not modified.
        names: naming scheme of the tensors: one of `interop.layout.LIBRARIES`.

    Raises:
        ValueError: the variables are not those of the network, the file cannot be written, or the
            library has no such network.
    """
    from fastscale_jax.interop.load import save as save_weights

    save_weights(at_home(path), _network(config), checked_variables(variables), names)


@keys_without_dashes()
def train(
    config: "str | ConfigDict | Run",
    *,
    source: Source | None = None,
    workdir: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Trains a network, or continues from the workdir's checkpoint; returns its test metrics.

    Ctrl-C saves the state and raises KeyboardInterrupt; the same call continues from there.

    Args:
        config: a recipe's name, a complete config as from `recipe`, or a `Run`.
        source: your own images, as from `from_arrays`, `from_csv` and so on; None: those of
            `config.data`. If `num_classes` is 0, the classifier gets the images' number of classes.
        workdir: folder for checkpoints, metrics and curves; None: a new one under `runs/`.
        overrides: as in `recipe`, if `config` is a name.

    Returns:
        The metrics of the last evaluation, by the names in `metrics.jsonl`: `test_top1_error`, in
        percent, and so on; those of the averaged model start with `ema_`.

    Raises:
        ValueError: an error in the config, the images or the workdir.
    """
    import jax

    from fastscale_jax.runs.auto_batch import with_batch_size
    from fastscale_jax.runs.loop import train as run_training
    from fastscale_jax.runs.start import start_of

    check_source(source)
    run = config if isinstance(config, Run) else _run(config, source, overrides)
    if workdir is None and run.workdir is None and jax.process_count() > 1:
        raise ValueError("several processes need a workdir that all of them see")
    folder = workdir if workdir is not None else run.workdir or _new_workdir(run)
    run = with_batch_size(run.at(at_home(folder)).with_classes(), trains=True)
    run = run.prepared("train")
    return run_training(run, start_of(run), ends_process=False)


@keys_without_dashes()
def evaluate(workdir: Path, *, source: Source | None = None) -> dict[str, float]:
    """Returns the test metrics of a run's latest checkpoint.

    They are also written to the workdir, as by `fastscale eval`.

    Args:
        workdir: the run's folder.
        source: your own images, with the run's classes in the same order; None: the images that the
            run was trained on.

    Raises:
        ValueError: there is no checkpoint, or the images have other classes.
    """
    from fastscale_jax.runs.assess import evaluate_checkpoints
    from fastscale_jax.train.evaluate import as_record

    check_source(source)
    folder = at_home(workdir)
    run = Run.of(read_config(None, workdir=folder), folder, source).prepared("eval")
    return as_record(evaluate_checkpoints(run)["last"])


def torch_twin(
    config: Config, variables: Mapping[str, Any] | None = None, *, channels: str = "RGB"
) -> "Twin":
    """Returns the same network as a PyTorch module, for inference, in channels_last.

    Args:
        config: the network, as in `create_model`, or its module's `architecture`.
        variables: weights; None: random weights.
        channels: order of the channels in images `[batch, 3, h, w]`: `RGB`, as in our networks; or
            `BGR`, as in pycls; the twin then loads and returns state dicts of pycls.

    Raises:
        ValueError: variables of another network, or an unknown order.
    """
    if variables is not None:
        variables = checked_variables(variables)
    from fastscale_jax.interop.torch_twin import twin

    return twin(_network(config), variables, channels=channels)


def _network(config: Config, **fields: int | None) -> Architecture:
    """The network of a name, config or `Architecture`; `fields` other than None replace its own."""
    network = as_architecture(model_config(config) if isinstance(config, str) else config)
    changes = {key: value for key, value in fields.items() if value is not None}
    return as_architecture({**network.to_config(), **changes}) if changes else network


def _left_open(config: Config | None, resolution: int | None = None) -> frozenset[str]:
    """Fields of a network that its weights may set, because a name does not contain them."""
    from fastscale_jax.interop.pretrained import OPEN

    if config is not None and not isinstance(config, str):
        return frozenset()
    return frozenset(OPEN) - ({"resolution"} if resolution is not None else set())


def _run(
    config: str | ConfigDict, source: Source | None, overrides: Mapping[str, Any] | None
) -> Run:
    if isinstance(config, str):
        config = recipe(config, overrides)
    elif overrides:
        raise ValueError("overrides are for a recipe's name; change the config itself")
    if not isinstance(config, ConfigDict) or "model" not in config:
        kind = "a config without model" if isinstance(config, ConfigDict) else type(config).__name__
        raise ValueError(
            "config must be a recipe's name, a complete config, as fastscale_jax.recipe returns, "
            f"or a Run; got {kind}"
        )
    return Run.of(config, source=source)


def _new_workdir(run: Run) -> str:
    return f"runs/{run.network.name}-{time.strftime('%Y%m%d-%H%M%S')}"
