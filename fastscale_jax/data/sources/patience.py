"""Files of a network's disk: what fails there now may be read a moment later."""

import errno
import time
from collections.abc import Callable

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


def patiently(read: Callable[[], bytes], wait: Callable[[float], object] | None = None) -> bytes:
    """Returns what reading a file returns; an error that may pass is met with four more tries.

    Args:
        read: the file.
        wait: takes seconds; None: `time.sleep`.

    Raises:
        OSError: it does not pass; that of the last try.
    """
    for seconds in _WAITS:
        try:
            return read()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            (wait or time.sleep)(seconds)
    return read()
