"""A disk that is full, without one: nothing can be written to any file."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def full(room: int = 0) -> Iterator[None]:
    """Lets no file of this process grow beyond `room` bytes; the error is EFBIG, not ENOSPC.

    Unlike a small file system, it needs no rights. pytest writes to files too: print nothing here.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
