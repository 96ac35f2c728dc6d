"""The parameters that `config.train.freeze` names. Without JAX, so a config is checked early."""

import difflib
import fnmatch
import itertools

from fastscale_jax.arch import Architecture, parameter_names
from fastscale_jax.arch.spelling import meant

_BACKBONE = "backbone"
_CLASSIFIER = "head.fc."


def frozen_names(network: Architecture, freeze: str) -> frozenset[str]:
    """Returns the dotted names of the parameters that are not trained.

    Args:
        network: the trained network.
        freeze: comma-separated patterns of parameter names; `backbone`: all but the classifier;
            empty: nothing.

    Raises:
        ValueError: a pattern matches no parameter, or nothing is left to train.
    """
    if not freeze:
        return frozenset()
    names = parameter_names(network)
    matched = (_matching(pattern, names) for pattern in freeze_patterns(freeze))
    frozen = frozenset(itertools.chain.from_iterable(matched))
    if len(frozen) == len(names):
        raise ValueError(
            f"config.train.freeze={freeze!r} leaves nothing to train; freeze=backbone trains the "
            "classifier only"
        )
    return frozen


def freeze_patterns(freeze: str) -> list[str]:
    """Returns the patterns of `config.train.freeze`, sorted, without duplicates and spaces.

    `backbone` may be written in any case.
    """
    patterns = freeze.split(",") if freeze else ()
    return sorted({meant(pattern.strip(), (_BACKBONE,)) for pattern in patterns})


def _matching(pattern: str, names: tuple[str, ...]) -> list[str]:
    """The names that match a pattern.

    Raises:
        ValueError: none matches; the message suggests similar patterns.
    """
    if pattern == _BACKBONE:
        return [name for name in names if not name.startswith(_CLASSIFIER)]
    matched = fnmatch.filter(names, pattern)
    if not matched:
        raise ValueError(
            f"config.train.freeze: {pattern!r} matches no parameter; did you mean "
            f"{' or '.join(_near(pattern, names))}? fastscale info --parameters lists the names"
        )
    return matched


def _near(pattern: str, names: tuple[str, ...]) -> list[str]:
    """Valid patterns similar to one that matches nothing."""
    levels = (itertools.accumulate(name.split(".")[:-1], "{}.{}".format) for name in names)
    known = list(dict.fromkeys([_BACKBONE, *(f"{x}.*" for one in levels for x in one), *names]))
    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
    return near or [_BACKBONE, "stem.*", "s1.*"]
