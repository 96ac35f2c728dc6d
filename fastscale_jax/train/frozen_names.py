"""Which parameters `config.train.freeze` means. Without JAX, so that a config is checked early."""

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
        network: that is trained.
        freeze: `backbone`, which is all but the classifier, and patterns of names of parameters,
            with commas between; empty: nothing.

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
            "classifier alone"
        )
    return frozen


def freeze_patterns(freeze: str) -> list[str]:
    """Returns the patterns of `config.train.freeze`, each once, sorted, without spaces around them.

    `backbone` may be written in any case.
    """
    patterns = freeze.split(",") if freeze else ()
    return sorted({meant(pattern.strip(), (_BACKBONE,)) for pattern in patterns})


def _matching(pattern: str, names: tuple[str, ...]) -> list[str]:
    """The names that a pattern stands for.

    Raises:
        ValueError: there are none; says which patterns are near.
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
    """Patterns that match something, like one that does not."""
    levels = (itertools.accumulate(name.split(".")[:-1], "{}.{}".format) for name in names)
    known = list(dict.fromkeys([_BACKBONE, *(f"{x}.*" for one in levels for x in one), *names]))
    near = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
    return near or [_BACKBONE, "stem.*", "s1.*"]
