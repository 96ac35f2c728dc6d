"""Every tensor of a network: its path in our variables, and its name in another library."""

from collections.abc import Iterator
from typing import Any

from fastscale_jax.arch import Architecture, BlockShape, layers
from fastscale_jax.arch.blocks import FUSED
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.interop.keras_layout import keras_tensors
from fastscale_jax.interop.naming import GROUPED, KERAS, NAMES, Modules, Names
from fastscale_jax.interop.tensor import Tensor

OURS = "fastscale_jax"
LIBRARIES = (OURS, *NAMES)

_LARGE_EPS = 1e-3  # in torchvision's EfficientNets B5 to B7, and V2

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
    first = ("stem", a.stem_convs[0].name)
    for layer in layers(a):
        if not layer.c_group:
            continue
        path = tuple(layer.name.split("."))
        of_block = ".".join(path[:2])
        block = blocks.get(of_block)
        if block:
            module, *norm = _of_block(names, path, numbers[of_block], block)
        else:
            module, *norm = _of_ends(names, path, len(a.stages))
        kernel = ("params", *path, "kernel")
        if norm:
            k, ours = layer.kernel, (layer.kernel, layer.kernel, layer.c_group, layer.width)
            is_bgr = library == "pycls" and path == first and a.in_channels == 3
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
    """Returns what to add to the library's variances, to make up for its other epsilon."""
    return _LARGE_EPS - a.bn_eps if _has_large_epsilon(a, library) else 0.0


def _has_large_epsilon(a: Architecture, library: str) -> bool:
    if library != "torchvision" or a.block != "mbconv":
        return False
    large = (base_architecture("efficientnet", base) for base in ("b5", "b6", "b7"))
    return a.fused_stages > 0 or any(a.stages == network.stages for network in large)


def _names(a: Architecture, library: str) -> Names:
    kind = kind_of(a)
    names = NAMES[library].get((kind, a.stem))
    if names is None:
        raise ValueError(f"{library} has no network of {kind} blocks with the stem {a.stem}")
    return names


def kind_of(a: Architecture) -> str:
    """Returns the kind of a network's blocks, as `naming.NAMES` has it."""
    return GROUPED if a.has_grouped_mbconv else a.block


def _check_same(a: Architecture, library: str, names: Names) -> None:
    """Refuses a network that differs from all of the library's in a field that no tensor shows."""
    if names.final_activation and not (a.head_width or a.final_activation):
        raise ValueError(
            f"timm's regnetz_040 and similar networks have an activation before pooling; {a.name} "
            "has neither this activation nor a head conv. With final_activation, or with a head "
            "conv (regnetz_040_h), the networks are the same"
        )
    strides = tuple(stage.stride for stage in a.stages)
    bn_eps = 1e-5 if _has_large_epsilon(a, library) else a.bn_eps  # the difference is made up for
    conventions = a.padding, bn_eps
    # EfficientNetV2-S has a stage less than the others
    theirs_strides = names.strides[: len(strides)] if a.fused_stages else names.strides
    has_any = names.conventions == ()  # pycls's names fit every network of ours
    for field, ours, theirs in (
        ("activation", a.activation, _one_of(names.activations, a.activation)),
        ("(padding, bn_eps)", conventions, _one_of(names.conventions, conventions)),
        ("strides", strides, theirs_strides or strides),
        ("head_width", a.head_width, a.head_width if names.head else 0),
        ("se_ratio", a.se_ratio, a.se_ratio if "se.reduce" in names.layers else 0),
        ("se_of", a.se_of, _one_of(names.se_bases, a.se_of) if a.se_ratio else a.se_of),
        (
            "se_activation",
            a.activation_in_se,
            a.activation_in_se
            if has_any or not a.se_ratio
            else names.se_activation or a.activation,
        ),
        ("fused_stages", a.fused_stages, a.fused_stages if names.fused else 0),
        (
            "final_activation",
            a.final_activation,
            a.final_activation and (has_any or names.final_activation),
        ),
        ("pooled_skips", a.pooled_skips, a.pooled_skips if has_any else names.pooled_skips),
    ):
        if ours != theirs:
            raise ValueError(
                f"{library} has no network like {a.name}: {field} is {theirs} in all of its "
                f"networks of {kind_of(a)} blocks with the stem {a.stem}; here it is {ours}"
            )


def _one_of(theirs: tuple[Any, ...], ours: Any) -> Any:
    """Our value if it is one of the library's, or if any value fits; else the library's values."""
    if not theirs or ours in theirs:
        return ours
    return theirs[0] if len(theirs) == 1 else " or ".join(map(str, theirs))


def _of_ends(names: Names, path: Modules, stages: int) -> Modules:
    """The modules of a layer of the stem or the head."""
    if path[0] == "stem":
        return names.stem[path[1]]
    if path[1] == "conv":
        return tuple(module.format(i=stages + 1) for module in names.head)
    return (names.classifier,)


def _of_block(names: Names, path: Modules, number: int, block: BlockShape) -> Modules:
    """The modules of a layer of a block, which is the `number`th of the network, from 0."""
    i, j = int(path[0][1:]), int(path[1][1:])
    prefix = names.block.format(i=i, j=j, i0=i - 1, j0=j - 1, n0=number)
    if block.kind == FUSED:
        of_block = names.fused if block.has_expansion else names.fused_unexpanded
    else:
        of_block = names.layers if block.has_expansion else names.unexpanded
    return tuple(prefix + module for module in of_block[".".join(path[2:])])
