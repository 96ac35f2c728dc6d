"""Where errors end: what can be foreseen is one line; a fault of ours says where to report it."""

import errno
import traceback

import fastscale_jax
from fastscale_jax.utils.console import FAILURE, complain, usage_error
from fastscale_jax.utils.usage import is_out_of_memory

# of stdout, which has no file's name: see `main`
_OF_THE_OUTPUT = (errno.EPIPE, errno.ENOSPC)


def told(error: Exception) -> int:
    """Says what ended a command, on stderr, and returns its exit status.

    Args:
        error: that no command has taken care of.

    Raises:
        OSError: the output cannot be written, which is for whoever started the command.
    """
    if isinstance(error, ValueError):
        return usage_error(str(error))
    if isinstance(error, OSError):
        if error.filename is None and error.errno in _OF_THE_OUTPUT:
            raise error
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}")
        return FAILURE
    if is_out_of_memory(error):
        reason = " ".join(str(error).split())
        complain(
            f"there is not enough memory{f': {reason}' if reason else ''}; a smaller batch, "
            "resolution or network needs less"
        )
        return FAILURE
    traceback.print_exception(error)
    complain(
        f"this is a fault of fastscale_jax {fastscale_jax.__version__}, not of yours; please open "
        "an issue in its repository, with the command and the lines above"
    )
    return FAILURE
