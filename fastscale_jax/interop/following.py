"""Fields of a network that nobody chose, as its weights say them.

A name, `efficientnet:b0`, says how large a network is. Which padding and which epsilon its weights
are for, and how large its images are, the weights may say. Tensors do not show it, so where nothing
says it, it is asked for.
"""

import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.architecture import LATER_FIELDS
from fastscale_jax.interop.beside import base_name, beside_of
from fastscale_jax.interop.claims import file_conventions
from fastscale_jax.interop.counterparts import COUNTERPARTS
from fastscale_jax.interop.naming import NAMES
from fastscale_jax.interop.pretrained import OPEN, PADDING
from fastscale_jax.interop.weights import WeightsError, library_of


def followed(
    network: Architecture,
    about: Mapping[str, Any],
    file: pathlib.Path | None,
    left_open: Collection[str],
) -> Architecture:
    """Returns a network with what its weights say of the fields that are left open.

    Args:
        network: what was asked for.
        about: as in `files.Stored`.
        file: of the weights; its name may say whose they are.
        left_open: of `OPEN`.
    """
    said: dict[str, Any] = {}
    if file is not None and network.block == "mbconv":
        said |= file_conventions(file)
    for name in about.get("names", ()):
        base = base_name(str(name))
        theirs = [c for c in COUNTERPARTS if c.package == "timm" and c.name == base]
        if theirs:
            said |= {key: getattr(theirs[0].architecture(), key) for key in PADDING}
    if about.get("model"):
        said |= {key: {**LATER_FIELDS, **about["model"]}[key] for key in PADDING}
    resolution = beside_of(about).resolution
    if resolution is not None:
        said["resolution"] = resolution
    return changed(network, {key: x for key, x in said.items() if key in left_open})


def padded_as_known(
    network: Architecture,
    shapes: Mapping[str, tuple[int, ...]],
    about: Mapping[str, Any],
    file: pathlib.Path | None,
) -> Architecture:
    """Returns a network with the padding and the epsilon that its weights are for.

    Args:
        network: as `followed` returns it, with both fields left open.
        shapes: of the weights, by name.
        about: as in `files.Stored`.
        file: as in `followed`.

    Raises:
        WeightsError: the library whose names they have has networks that differ in them, and
            nothing says of which the weights are.
    """
    kind = network.block, network.stem
    library = library_of(network, shapes)
    if library is None:  # perhaps of one whose networks all pad otherwise
        others = [
            (name, changed(network, dict(zip(PADDING, theirs, strict=True))))
            for name, kinds in NAMES.items()
            for theirs in (kinds[kind].conventions if kind in kinds else ())
        ]
        fitting = [(name, x) for name, x in others if library_of(x, shapes) == name]
        if len(fitting) < 2:
            return next((x for _, x in fitting), network)
        library = fitting[0][0]
    names = NAMES.get(library, {}).get(kind)
    is_said = about.get("names") or about.get("model") or (file and file_conventions(file))
    if names is None or len(names.conventions) < 2 or is_said:
        return network
    choices = ", or ".join(f"{padding} and {eps:g}" for padding, eps in names.conventions)
    # the flags last: of a long line the end is kept
    raise WeightsError(
        f"nothing says how the network of these weights pads, and {library} has several with these "
        "tensors; name the file after its network, as in tf_efficientnet_b0.pth, or give "
        f"--config.model.padding and --config.model.bn_eps: {choices}"
    )


def changed(network: Architecture, fields: Mapping[str, Any]) -> Architecture:
    """Returns a network with other values of some fields of its config."""
    if not fields:
        return network
    return Architecture.from_config({**network.to_config().to_dict(), **fields})


def what_changed(
    asked: Architecture, network: Architecture, about: Mapping[str, Any]
) -> Iterator[str]:
    """Yields, for people, each field in which weights were followed, and a resolution that differs.

    Args:
        asked: the network that was asked for.
        network: the same, with what the weights say.
        about: as in `files.Stored`.
    """
    for key in OPEN:
        if getattr(network, key) != getattr(asked, key):
            yield f"{key} {getattr(network, key)}"
    theirs = beside_of(about).resolution
    if theirs not in (None, network.resolution):
        yield f"not its resolution {theirs}, but {network.resolution}, which was chosen"
