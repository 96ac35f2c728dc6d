"""Scalars in the form of TensorBoard's event files.

The bytes are made here and written by the caller: a writer of tensorboardX's has a thread and a
queue, and where the thread dies of a full disk, whoever adds to the queue waits for ever.
"""

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any


class EventLog:
    """The events of one process: the name of their file, and their bytes.

    A file is a row of TFRecords, each an `Event` of TensorBoard's protocol.
    """

    def __init__(self) -> None:
        """Takes a name that no other file of the folder has."""
        # in whole seconds, as TensorBoard sorts them; then one that no second writer takes
        self.name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{time.time_ns()}"

    def beginning(self, purge_step: int | None = None) -> bytes:
        """Returns what a file begins with.

        Args:
            purge_step: events of other files from this step on are no longer shown; None: all are.
        """
        content = _record(file_version="brain.Event:2")
        if purge_step is not None:
            content += _record(step=purge_step, session_log={"status": "START"})
        return content

    def scalars(self, step: int, values: Mapping[str, float]) -> bytes:
        """Returns the events of some scalars, by their tags."""
        return b"".join(
            _record(step=step, summary={"value": [{"tag": tag, "simple_value": value}]})
            for tag, value in values.items()
        )


def _record(**fields: Any) -> bytes:
    """An event as a TFRecord: length, its checksum, content, its checksum."""
    # tensorboardX imports PyTorch where it is installed, which takes a second, for tensors that we
    # do not have. Other packages need more: clu's and Flax's import TensorFlow or PyTorch, and
    # TensorBoard's own imports TensorFlow where it is installed.
    with _without("torch"):
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import masked_crc32c

    # its names are made when it is imported, so pyright does not know them
    event = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
    content = event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(content))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return b"".join((length, next(checksums), content, next(checksums)))


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Lets an optional package seem not to be installed, unless it is imported already.

    So it seems to all threads; none of ours imports it.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # pyright: ignore[reportArgumentType] # documented: an import fails
    try:
        yield
    finally:
        sys.modules.pop(package, None)
