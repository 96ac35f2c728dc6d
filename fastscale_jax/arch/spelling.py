"""Matches names in any case, and suggests names for misspelt ones."""

import difflib
from collections.abc import Iterable, Sequence

_NEAR = 0.6  # smallest similarity of a suggestion
_MOST = 3  # suggestions at most


def meant(name: str, choices: Iterable[str]) -> str:
    """Returns the choice equal to a name, or the only one that differs from it in case alone.

    Args:
        name: the text that a user wrote.
        choices: the valid names.

    Returns:
        One of the choices; the name itself if it matches none of them, or several.
    """
    choices = tuple(choices)
    if name in choices:
        return name
    alike = [choice for choice in choices if choice.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else name


def nearest(name: str, choices: Iterable[str]) -> list[str]:
    """Returns the choices most similar to a name, at most three.

    Case is ignored. Similarity is the mean of difflib's ratio for the two words and for their
    sorted letters; the second ignores swapped letters. The result is empty if nothing is similar
    enough, or if more than three choices are equally similar.
    """
    choices = tuple(dict.fromkeys(choices))
    if name in choices:
        return [name]
    word = name.lower()
    likeness = {choice: _likeness(word, choice.lower()) for choice in choices}
    most = max(likeness.values(), default=0.0)
    near = [choice for choice in choices if likeness[choice] == most >= _NEAR]
    return near if len(near) <= _MOST else []


def did_you_mean(nearest: Sequence[str]) -> str:
    """Returns a question for an error message, with a space at its end; empty for no names."""
    if not nearest:
        return ""
    *others, last = nearest
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}? "


def _likeness(one: str, other: str) -> float:
    pairs = (one, other), (sorted(one), sorted(other))
    return sum(difflib.SequenceMatcher(None, a, b).ratio() for a, b in pairs) / 2
