"""Parses and formats numbers in the digits 0 to 9."""

import re

# characters besides digits in numbers, tuples and ranges
_AROUND_DIGITS = re.compile(r"[-+.,:;()\[\]eE_ ]*")


def is_whole(text: str) -> bool:
    """Returns whether a text is a whole number without a sign, in the digits 0 to 9.

    Python's `isdecimal` and `int` accept digits of all scripts.
    """
    return text.isascii() and text.isdecimal()


def four_digits(number: float) -> str:
    """Returns a number to four digits, without an exponent up to 1e10: `24,360`, `2.436`."""
    return f"{float(f'{number:.4g}'):,.10g}"


def other_digits(text: str) -> str:
    """Returns the digits other than 0 to 9 in a text of one or several numbers.

    For other text, such as a file name, the result is empty.
    """
    others = "".join(c for c in text if c.isdecimal() and not c.isascii())
    rest = "".join(c for c in text if not c.isdecimal())
    return others if _AROUND_DIGITS.fullmatch(rest) else ""
