"""Names as people write them: without regard to case, and misspelt."""

import difflib
from collections.abc import Iterable, Sequence

_NEAR = 0.6  # likeness from which on a name may have been meant
_MOST = 3  # names that one may have been meant to be


def meant(name: str, choices: Iterable[str]) -> str:
    """Returns the choice that a name stands for: itself, or the only one that differs in case.

    Args:
        name: as somebody wrote it.
        choices: what it may be.

    Returns:
        One of the choices; the name as it is where it stands for none of them, or for several.
    """
    choices = tuple(choices)
    if name in choices:
        return name
    alike = [choice for choice in choices if choice.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else name


def nearest(name: str, choices: Iterable[str]) -> list[str]:
    """Returns the choices that a name may have been meant to be, all of them equally likely.

    They are the name itself, or those that differ in case, or those that are most alike: as
    difflib says, in the mean of the letters as they stand and the letters sorted, which two that
    have changed places leave as they are. The result is empty where nothing is alike, or where more
    than three are equally so.
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
    """Returns the question for an error message, with a space after it; of no names, nothing."""
    if not nearest:
        return ""
    *others, last = nearest
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}? "


def _likeness(one: str, other: str) -> float:
    pairs = (one, other), (sorted(one), sorted(other))
    return sum(difflib.SequenceMatcher(None, a, b).ratio() for a, b in pairs) / 2
