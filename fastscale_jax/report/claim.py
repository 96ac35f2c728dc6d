"""A claim of the paper's text, beside our own numbers."""

from typing import NamedTuple


class Claim(NamedTuple):
    """A claim of the paper, and our numbers for it."""

    section: str
    text: str  # the claim
    ours: str  # our numbers for it
