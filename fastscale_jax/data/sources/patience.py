"""Retries reading files from network storage after errors that may pass."""

import errno
import time
from collections.abc import Callable

_WAITS = (0.1, 0.4, 1.6, 6.4)  # seconds before each retry
# errors that may pass; by name, because some systems lack some of them
_PASSING = {
    getattr(errno, name)
    for name in (
        *("EAGAIN", "EBUSY", "ECOMM", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN"),
        *("EHOSTUNREACH", "EINTR", "EIO", "EMFILE", "ENETDOWN", "ENETRESET", "ENETUNREACH"),
        *("ENFILE", "ENOBUFS", "ENOLINK", "ENOTCONN", "EPIPE", "EREMOTEIO", "ESTALE", "ETIMEDOUT"),
    )
    if hasattr(errno, name)
}


def patiently(read: Callable[[], bytes], wait: Callable[[float], object] | None = None) -> bytes:
    """Returns the result of reading a file; retries four times after errors that may pass.

    Args:
        read: reads the file.
        wait: takes seconds; None: `time.sleep`.

    Raises:
        OSError: another error, or the error of the last try.
    """
    for seconds in _WAITS:
        try:
            return read()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            (wait or time.sleep)(seconds)
    return read()
