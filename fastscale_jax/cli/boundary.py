"""Turns exceptions into exit statuses: one line for known errors, a traceback for bugs."""

import errno
import traceback

import fastscale_jax
from fastscale_jax.utils.console import FAILURE, complain, usage_error
from fastscale_jax.utils.usage import is_out_of_memory

# errors of stdout, which come without a file name: see `main`
_OF_THE_OUTPUT = (errno.EPIPE, errno.ENOSPC)


def exit_status(error: Exception) -> int:
    """Prints an exception on stderr and returns the exit status.

    Args:
        error: an exception that the command did not handle.

    Raises:
        OSError: stdout cannot be written; the caller handles it.
    """
    if isinstance(error, ValueError):
        return usage_error(str(error))
    if isinstance(error, OSError):
        if error.filename is None and error.errno in _OF_THE_OUTPUT:
            raise error
        file = f"{error.filename}: " if error.filename else ""
        complain(f"{file}{error.strerror or error}")
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
        f"this is a bug of fastscale_jax {fastscale_jax.__version__}; please open an issue in its "
        "repository, with the command and the lines above"
    )
    return FAILURE
