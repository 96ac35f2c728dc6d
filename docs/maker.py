"""What makes parts of the manual: each checks what it made, and makes it anew."""

import argparse
from collections.abc import Callable
from typing import NamedTuple


class Maker(NamedTuple):
    """One of the manual's makers.

    Attributes:
        differing: returns the files that are not what would be made now. It raises
            `ModuleNotFoundError` where a package is missing that the maker needs.
        write: writes them all.
    """

    differing: Callable[[], list[str]]
    write: Callable[[], None]


def run(description: str | None, maker: Maker, module: str) -> int:
    """Runs a maker as a command: checks, or with `--write` makes; returns the exit status.

    Args:
        description: its module's docstring.
        maker: to run.
        module: that is run again with `--write`, for the message.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write it; without: check it")
    if parser.parse_args().write:
        maker.write()
        return 0
    different = maker.differing()
    for name in different:
        print(f"{name} differs; python -m {module} --write")
    return 1 if different else 0
