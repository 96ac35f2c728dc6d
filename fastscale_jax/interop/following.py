"""Takes a network's padding, epsilon and resolution from its weights, if the user left them open.

A name such as `efficientnet:b0` gives only the size of a network. Files of weights may state its
padding, epsilon and resolution. Tensors do not show padding and epsilon: if nothing states them,
an error asks the user for them.
"""

import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fastscale_jax.arch import Architecture
from fastscale_jax.arch.architecture import LATER_FIELDS
from fastscale_jax.interop.beside import base_name, beside_of
from fastscale_jax.interop.claims import PYCLS_EPS, file_conventions, pycls_conventions
from fastscale_jax.interop.counterparts import COUNTERPARTS
from fastscale_jax.interop.layout import OURS, kind_of
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

    Raises:
        WeightsError: pycls's config in it is damaged.
    """
    said = _said(network, about, file)
    resolution = beside_of(about).resolution
    if resolution is not None:
        said["resolution"] = resolution
    return changed(network, {key: x for key, x in said.items() if key in left_open})


def _said(
    network: Architecture, about: Mapping[str, Any], file: pathlib.Path | None
) -> dict[str, Any]:
    """The padding and the epsilon that weights say; the surest source comes last."""
    said: dict[str, Any] = {}
    if file is not None and network.block == "mbconv":
        said |= file_conventions(file)
    for name in about.get("names", ()):
        base = base_name(str(name))
        theirs = [c for c in COUNTERPARTS if c.package == "timm" and c.name == base]
        if theirs:
            said |= {key: getattr(theirs[0].architecture(), key) for key in PADDING}
    if "cfg" in about:
        said |= pycls_conventions(about["cfg"])
    if about.get("model"):
        said |= {key: {**LATER_FIELDS, **about["model"]}[key] for key in PADDING}
    return said


def padded_as_known(
    network: Architecture,
    shapes: Mapping[str, tuple[int, ...]],
    about: Mapping[str, Any],
    file: pathlib.Path | None,
    left_open: Collection[str],
) -> Architecture:
    """Returns a network with the padding and the epsilon that its weights are for.

    Args:
        network: as `followed` returns it.
        shapes: of the weights, by name.
        about: as in `files.Stored`.
        file: as in `followed`.
        left_open: as in `followed`.

    Raises:
        WeightsError: several networks of the library have these tensors, with different padding
            or epsilon, and nothing says which of them the weights are for.
    """
    asked = [key for key in PADDING if key in left_open]
    kind = kind_of(network), network.stem
    library = library_of(network, shapes)
    is_open = len(asked) == len(PADDING)
    if library is None and is_open:  # perhaps of one whose networks all pad otherwise
        others = [
            (name, changed(network, dict(zip(PADDING, theirs, strict=True))))
            for name, kinds in NAMES.items()
            for theirs in (kinds[kind].conventions if kind in kinds else ())
        ]
        fitting = [(name, x) for name, x in others if library_of(x, shapes) == name]
        if len(fitting) < 2:
            return next((x for _, x in fitting), network)
        library = fitting[0][0]
    # a name that is none of ours is refused later
    is_said = _said(network, about, file) or about.get("names")
    if library is None or not asked or is_said:
        return network
    names = NAMES.get(library, {}).get(kind)
    if names is not None and names.conventions:
        if is_open and len(names.conventions) > 1:
            raise WeightsError(_question(library, names.conventions))
    elif library in (OURS, "pycls"):
        raise WeightsError(_question_of_any(library, asked))
    return network


# the flags last: of a long line the end is kept
def _question(library: str, conventions: Collection[tuple[str, float]]) -> str:
    choices = ", or ".join(f"{padding} and {eps:g}" for padding, eps in conventions)
    return (
        f"nothing says how the network of these weights pads, and {library} has several with these "
        "tensors; name the file after its network, as in tf_efficientnet_b0.pth, or give "
        f"--config.model.padding and --config.model.bn_eps: {choices}"
    )


def _question_of_any(library: str, asked: Collection[str]) -> str:
    conventions = ("symmetric", PYCLS_EPS, "pycls"), ("same", 1e-3, "TensorFlow")
    values = []
    for *both, name in conventions:
        of_asked = [str(x) for key, x in zip(PADDING, both, strict=True) if key in asked]
        values.append(f"{' and '.join(of_asked)} in {name}")
    flags = " and ".join(f"--config.model.{key}" for key in asked)
    unknown = "how the network of these weights pads"
    if "padding" not in asked:
        unknown = "the bn_eps of the network of these weights"
    elif "bn_eps" in asked:
        unknown += ", nor its bn_eps"
    return (
        f"nothing says {unknown}, and {library}'s names fit any; give the network as a config in "
        f"Python, or {flags}: {', '.join(values)}"
    )


def changed(network: Architecture, fields: Mapping[str, Any]) -> Architecture:
    """Returns a network with other values of some fields of its config."""
    if not fields:
        return network
    return Architecture.from_config({**network.to_config().to_dict(), **fields})


def what_changed(
    asked: Architecture, network: Architecture, about: Mapping[str, Any]
) -> Iterator[str]:
    """Yields texts for users: fields taken from the weights, and a resolution that was not taken.

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
