"""PyTorch's files of weights, as training programs write them; no code in them is ever run."""

import argparse
import collections
import pathlib
import re
import warnings
from collections.abc import Mapping
from typing import Any

from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.utils.console import complain
from fastscale_jax.utils.installation import pip_install

# Keys of a state dict in the checkpoints of training programs: pycls, timm, torchvision and others.
# `EMA_KEYS` are those of the average of the weights over steps.
_PLAIN_KEYS = ("model_state", "state_dict", "model_state_dict", "model", "net", "weights")
EMA_KEYS = ("ema", "ema_state", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model")
STATE_DICT_KEYS = (*_PLAIN_KEYS, *EMA_KEYS)
NOTE = "fastscale_jax"  # in the metadata of a state dict of our twin: what no tensor shows
EMA = "ema"  # as in file.pth#ema: the average, whatever its key is
# Prefixes of all names if the network is inside another module: DistributedDataParallel,
# torch.compile, Lightning, or a user's own.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
_LIGHTNING = "pytorch-lightning_version"  # in each of its checkpoints
_PATHLIB = ("pathlib", "pathlib._local")  # the second: Python 3.13's
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
_AVERAGED_MODEL_S_COUNTER = "n_averaged"  # of torch.optim.swa_utils


def read_torch(path: pathlib.Path, key: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the tensors of a PyTorch file by name, and what it says about its network.

    Args:
        path: of the file.
        key: which of its state dicts, by its key; `ema`: the averaged weights; empty: the plain
            ones, and the averaged ones where there are no others.

    Raises:
        WeightsError: PyTorch is missing; the file is damaged, or holds something else.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path} is PyTorch's; to read it, {pip_install('torch')}, or save it as "
            "safetensors where PyTorch is"
        ) from error
    try:
        allowed = torch.serialization.safe_globals(_plain_values())
        with warnings.catch_warnings(), allowed:
            warnings.simplefilter("ignore")
            # an open file, because torch.load of a path depends on its name
            with path.open("rb") as file:
                loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or a hostile pickle brings up
        raise WeightsError(_why_not(path, str(error))) from error
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, not a state dict")
    inner = _chosen(path, loaded, key)
    if not inner:
        raise WeightsError(f"{path} holds no state dict, but an empty mapping")
    for name, value in inner.items():
        if not isinstance(value, torch.Tensor):
            raise WeightsError(
                f"{path} holds no state dict, by itself or under {', '.join(STATE_DICT_KEYS)}: "
                f"{name!r} is no tensor, but of type {type(value).__name__}"
            )
        if kind := _unusual_kind(value):
            raise WeightsError(f"{path}: the tensor {name!r} is {kind}; save its values densely")
    about = _said_beside(loaded) | _noted(inner)
    if _LIGHTNING in loaded:
        inner = _network_of_module(path, inner)
    kinds = (_PLAIN_KEYS, EMA_KEYS)
    if not key and all(any(isinstance(loaded.get(x), Mapping) for x in kind) for kind in kinds):
        about["has_average"] = True
    return unwrapped(inner), about


def _network_of_module(path: pathlib.Path, tensors: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The network's tensors in a Lightning module; all tensors if no single prefix marks them."""
    names = [str(name) for name in tensors]
    wrappers = [x for x in _WRAPPERS if any(name.startswith(x) for name in names)]
    others = [name for name in names if not name.startswith(tuple(wrappers))]
    if len(wrappers) != 1 or not others:
        return tensors
    complain(
        f"{path}: of the module, {wrappers[0]}* is read, and not {others[0]}"
        + (f" and {len(others) - 1} more" if others[1:] else "")
    )
    return {name: x for name, x in tensors.items() if str(name).startswith(wrappers[0])}


def _chosen(path: pathlib.Path, loaded: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    """The state dict of a checkpoint, which may be in a mapping within a mapping."""
    names = EMA_KEYS if key == EMA and key not in loaded else (key,) if key else STATE_DICT_KEYS
    inner = next((loaded[x] for x in names if isinstance(loaded.get(x), Mapping)), None)
    if inner is None and key:
        there = ", ".join(str(x) for x, value in loaded.items() if _has_tensors(value))
        raise WeightsError(
            f"{path} has no weights under {key!r}; {f'it has {there}' if there else 'it has none'}"
            " to choose from"
        )
    return loaded if inner is None else _innermost(inner)


def _innermost(mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The state dict of what may hold one, as in {"ema": {"decay": 0.999, "module": {…}}}."""
    deeper = ("module", *STATE_DICT_KEYS)
    while nested := next((mapping[x] for x in deeper if isinstance(mapping.get(x), Mapping)), None):
        mapping = nested
    return mapping


def _has_tensors(value: Any) -> bool:
    import torch

    return isinstance(value, Mapping) and any(
        isinstance(x, torch.Tensor) for x in _innermost(value).values()
    )


def _unusual_kind(tensor: Any) -> str:
    """What a tensor is that does not simply hold its values; empty: it does."""
    kinds = {
        "nested": tensor.is_nested,
        "quantised": tensor.is_quantized,
        "sparse": str(tensor.layout) != "torch.strided",
        "without values": tensor.is_meta,
        "complex": tensor.is_complex(),
    }
    return next((kind for kind, has in kinds.items() if has), "")


def unwrapped(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Returns tensors without the prefixes that wrapped modules give to all of them."""
    found = {str(name): tensor for name, tensor in tensors.items()}
    found.pop(_AVERAGED_MODEL_S_COUNTER, None)
    for _ in _WRAPPERS:  # in any order
        for prefix in _WRAPPERS:
            if found and all(name.startswith(prefix) for name in found):
                found = {name.removeprefix(prefix): x for name, x in found.items()}
    return found


class _Unread:
    """Replaces objects beside the weights that are not needed: takes any values and drops them.

    NumPy's own functions are not called: a forged description of an array could make one whose
    elements point anywhere.
    """

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _dictionary(_default: Any = None) -> dict[Any, Any]:
    return collections.OrderedDict()


def _plain_values() -> list[Any]:
    """Names that a file may use besides those that PyTorch allows, and what is called instead."""
    multiarray = (f"numpy.{core}.multiarray" for core in ("core", "_core"))  # of NumPy 1 and 2
    unread = [
        *("numpy.dtype", "numpy.ndarray"),
        *(f"{where}.{name}" for where in multiarray for name in ("scalar", "_reconstruct")),
        *(f"{where}.{name}" for where in _PATHLIB for name in _PATHS),
    ]
    return [
        *((_Unread, name) for name in unread),
        (_dictionary, "collections.defaultdict"),  # PyTorch fills none
        *(dict, list, set, int, float),  # what these make where a key is missing
        argparse.Namespace,
    ]


def _said_beside(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what training programs save about the network beside its weights."""
    about: dict[str, Any] = {}
    if isinstance(checkpoint.get("cfg"), str):  # pycls
        about["cfg"] = checkpoint["cfg"]
    if isinstance(checkpoint.get("arch"), str) and "state_dict" in checkpoint:  # timm
        about["names"] = [checkpoint["arch"]]
    return about


def _noted(state: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns what our twin notes in the metadata of its state dict, which may be in a module."""
    metadata = getattr(state, "_metadata", {})
    of_modules = metadata.values() if isinstance(metadata, Mapping) else ()
    notes = [x[NOTE] for x in of_modules if isinstance(x, Mapping) and NOTE in x]
    return {"note": notes[0]} if len(notes) == 1 else {}


def _why_not(path: pathlib.Path, error: str) -> str:
    wanted = re.search(r"GLOBAL ([\w.]+)", error)
    if wanted:
        return (
            f"{path} asks for {wanted[1]} when it is read, which could run any code; only tensors "
            "and plain values are read, as in a model's state_dict()"
        )
    if "TorchScript" in error:
        return f"{path} is a TorchScript program; save its state_dict() instead"
    if "Unsupported operand" in error:
        return f"{path} is a pickle of something else than tensors and plain values"
    return (
        f"{path} is damaged or cut short: {error.splitlines()[0][:150] if error else 'no reason'}"
    )
