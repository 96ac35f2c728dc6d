"""Numbers as people write them: in the digits 0 to 9."""

import re

# what numbers are written with, beside digits: one, several, a tuple, a range
_AROUND_DIGITS = re.compile(r"[-+.,:;()\[\]eE_ ]*")


def is_whole(text: str) -> bool:
    """Returns whether a text is a whole number without a sign, in the digits 0 to 9.

    Python's `isdecimal` and `int` take the digits of all scripts.
    """
    return text.isascii() and text.isdecimal()


def four_digits(number: float) -> str:
    """Returns a number to four digits, without an exponent up to 1e10: `24,360`, `2.436`."""
    return f"{float(f'{number:.4g}'):,.10g}"


def other_digits(text: str) -> str:
    """Returns the digits that are none of 0 to 9 in a text that is one number or several.

    Of text that is more than numbers, such as the name of a file, the result is empty.
    """
    others = "".join(c for c in text if c.isdecimal() and not c.isascii())
    rest = "".join(c for c in text if not c.isdecimal())
    return others if _AROUND_DIGITS.fullmatch(rest) else ""
