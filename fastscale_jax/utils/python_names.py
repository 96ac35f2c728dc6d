"""Names of config keys in errors of the Python API."""

import contextlib
import re
from collections.abc import Iterator

_FLAG = re.compile(r"--(config|workdir)\b")


@contextlib.contextmanager
def keys_without_dashes() -> Iterator[None]:
    """Names config keys in errors as in Python: `config.data.dir`, not `--config.data.dir`.

    The command line has the same checks, and their messages name its flags. `--config` and
    `--workdir` lose their dashes, too. May be used as a decorator.
    """
    try:
        yield
    except Exception as error:
        error.args = tuple(_FLAG.sub(r"\1", x) if isinstance(x, str) else x for x in error.args)
        raise
