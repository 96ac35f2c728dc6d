"""What commands print, and the statuses that they end with."""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

OK, FAILURE, USAGE_ERROR = 0, 1, 2
# what commands are given for an argument -, which cyclopts takes for an option
STDIN = "/dev/stdin"


def complain(message: str) -> None:
    """Says a line on stderr."""
    print(f"fastscale_jax: {' '.join(message.split())}", file=sys.stderr)


def usage_error(message: str) -> int:
    """Says what was wrong, and returns the status of that."""
    complain(message)
    return USAGE_ERROR


def print_json(metrics: Mapping[str, float | str]) -> None:
    """Prints one JSON object on stdout; what is no number is null."""
    finite = {
        key: value if isinstance(value, str) or math.isfinite(value) else None
        for key, value in metrics.items()
    }
    print(json.dumps(finite, allow_nan=False))


def print_table(renderable: Any) -> None:
    """Prints a table on stdout."""
    from rich.console import Console

    console = Console()
    # a pipe has no width; without one, rich would fold the table at 80 columns
    Console(width=None if console.is_terminal else 160).print(renderable)
