"""Files of a network's disk: what fails there now may be read a moment later."""

import errno
import pathlib
import time
from collections.abc import Callable

from fastscale_jax.utils import guarded_file

_WAITS = (0.1, 0.4, 1.6, 6.4)  # seconds before each further try
# what says nothing about the file itself; by name, for not every system has all of them
_PASSING = {
    getattr(errno, name)
    for name in (
        *("EAGAIN", "EBUSY", "ECOMM", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN"),
        *("EHOSTUNREACH", "EINTR", "EIO", "EMFILE", "ENETDOWN", "ENETRESET", "ENETUNREACH"),
        *("ENFILE", "ENOBUFS", "ENOLINK", "ENOTCONN", "EPIPE", "EREMOTEIO", "ESTALE", "ETIMEDOUT"),
    )
    if hasattr(errno, name)
}


def content_of(path: pathlib.Path, wait: Callable[[float], object] | None = None) -> bytes | None:
    """Returns what is in a file; an error that may pass is met with up to four more tries.

    Args:
        path: of a regular file.
        wait: takes seconds; None: `time.sleep`.

    Returns:
        None: it cannot be read, for a reason that opening it says.

    Raises:
        IrregularFileError: it is a folder, a pipe or a device.
    """
    for seconds in (*_WAITS, None):
        try:
            return guarded_file.read(path)
        except OSError as error:
            if error.errno not in _PASSING or seconds is None:
                return None
            (wait or time.sleep)(seconds)
    return None
