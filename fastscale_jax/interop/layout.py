"""Every tensor of a network: its path in our variables, and its name in another library."""

from collections.abc import Iterator
from typing import Any

from fastscale_jax.arch import Architecture, layers
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.interop.keras_layout import keras_tensors
from fastscale_jax.interop.naming import KERAS, NAMES, Modules, Names
from fastscale_jax.interop.tensor import Tensor

OURS = "fastscale_jax"
LIBRARIES = (OURS, *NAMES)

_LARGE_EPS = 1e-3  # in torchvision's EfficientNets B5 to B7

# for each of our axes, the number of theirs
_CONV, _DENSE, _VECTOR = (2, 3, 1, 0), (1, 0), (0,)


def tensors(a: Architecture, library: str) -> Iterator[Tensor]:
    """Yields every tensor of a network, except BatchNorm's counters of batches.

    Args:
        a: the network.
        library: one of `LIBRARIES`.

    Raises:
        ValueError: the library has no network like it.
    """
    if library != OURS:
        names = _names(a, library)
        _check_same(a, library, names)
        is_keras = library == KERAS
        yield from keras_tensors(a) if is_keras else _theirs(a, library, names)
        return
    for tensor in _theirs(a, "pycls", _names(a, "pycls")):
        shape = tensor.our_shape
        yield Tensor(tensor.path, ".".join(tensor.path), shape, shape, tuple(range(len(shape))))


def _theirs(a: Architecture, library: str, names: Names) -> Iterator[Tensor]:
    blocks = dict(a.blocks())
    numbers = {name: number for number, name in enumerate(blocks)}
    missing = _missing_variance(a, library)
    for layer in layers(a):
        if not layer.c_group:
            continue
        path = tuple(layer.name.split("."))
        of_block = ".".join(path[:2])
        block, number = blocks.get(of_block), numbers.get(of_block, 0)
        module, *norm = _modules(names, path, number, block is None or block.has_expansion)
        kernel = ("params", *path, "kernel")
        if norm:
            k, ours = layer.kernel, (layer.kernel, layer.kernel, layer.c_group, layer.width)
            is_bgr = library == "pycls" and path[0] == "stem"
            theirs = (layer.width, layer.c_group, k, k)
            yield Tensor(kernel, f"{module}.weight", ours, theirs, _CONV, is_bgr)
            yield from _norm(path, norm[0], layer.width, missing)
        else:
            ours, bias = (layer.c_group, layer.width), ("params", *path, "bias")
            # SE's layers are dense in ours and 1x1 convs in theirs
            theirs = (layer.width, layer.c_group) + ((1, 1) if block else ())
            yield Tensor(kernel, f"{module}.weight", ours, theirs, _DENSE)
            yield Tensor(bias, f"{module}.bias", ours[1:], ours[1:], _VECTOR)


def _norm(path: Modules, module: str, width: int, missing: float) -> Iterator[Tensor]:
    for leaf, collection, ours in (
        ("weight", "params", "scale"),
        ("bias", "params", "bias"),
        ("running_mean", "batch_stats", "mean"),
        ("running_var", "batch_stats", "var"),
    ):
        where, shape = (collection, *path, "bn", ours), (width,)
        offset = missing if ours == "var" else 0.0
        yield Tensor(where, f"{module}.{leaf}", shape, shape, _VECTOR, offset=offset)


def _missing_variance(a: Architecture, library: str) -> float:
    """Returns the variance to add to ours, to make up for another epsilon in their BatchNorm."""
    return _LARGE_EPS - a.bn_eps if _has_large_epsilon(a, library) else 0.0


def _has_large_epsilon(a: Architecture, library: str) -> bool:
    if library != "torchvision" or a.block != "mbconv":
        return False
    large = (base_architecture("efficientnet", base) for base in ("b5", "b6", "b7"))
    return any(a.stages == network.stages for network in large)


def _names(a: Architecture, library: str) -> Names:
    names = NAMES[library].get((a.block, a.stem))
    if names is None:
        raise ValueError(f"{library} has no network of {a.block} blocks with the stem {a.stem}")
    return names


def _check_same(a: Architecture, library: str, names: Names) -> None:
    """Refuses a network that none of theirs is like, in what the tensors do not show."""
    if library == "timm" and a.block == "linear_bottleneck" and not a.head_width:
        raise ValueError(
            f"timm's regnetz_040 and its like activate what they pool; {a.name}, without a head "
            "conv, does not. With one (regnetz_040_h) they are the same"
        )
    strides = tuple(stage.stride for stage in a.stages)
    bn_eps = 1e-5 if _has_large_epsilon(a, library) else a.bn_eps  # the difference is made up for
    conventions = a.padding, bn_eps
    for field, ours, theirs in (
        ("activation", a.activation, _one_of(names.activations, a.activation)),
        ("(padding, bn_eps)", conventions, _one_of(names.conventions, conventions)),
        ("strides", strides, names.strides or strides),
        ("head_width", a.head_width, a.head_width if names.head else 0),
        ("se_ratio", a.se_ratio, a.se_ratio if "se.reduce" in names.layers else 0),
    ):
        if ours != theirs:
            raise ValueError(
                f"{library} has no network like {a.name}: {field} is {theirs} in all of its "
                f"networks of {a.block} blocks with the stem {a.stem}; here it is {ours}"
            )


def _one_of(theirs: tuple[Any, ...], ours: Any) -> Any:
    """Ours where it may be so; else what theirs are."""
    if not theirs or ours in theirs:
        return ours
    return theirs[0] if len(theirs) == 1 else " or ".join(map(str, theirs))


def _modules(names: Names, path: Modules, number: int, has_expansion: bool) -> Modules:
    if path[0] == "stem":
        return names.stem
    if path[0] == "head":
        return names.head if path[1] == "conv" else (names.classifier,)
    i, j = int(path[0][1:]), int(path[1][1:])
    prefix = names.block.format(i=i, j=j, i0=i - 1, j0=j - 1, n0=number)
    of_block = names.layers if has_expansion else names.unexpanded
    return tuple(prefix + module for module in of_block[".".join(path[2:])])
