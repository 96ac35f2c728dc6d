"""Names of config keys in errors of the Python API."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def keys_without_dashes() -> Iterator[None]:
    """Names config keys in a `ValueError` as in Python: `config.data.dir`, not `--config.data.dir`.

    The command line has the same checks, and their messages name its flags. May be used as a
    decorator.
    """
    try:
        yield
    except ValueError as error:
        error.args = tuple(
            x.replace("--config.", "config.") if isinstance(x, str) else x for x in error.args
        )
        raise
