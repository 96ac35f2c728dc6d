"""Encodes scalars as TensorBoard event files.

This file makes the bytes; the caller writes them. A writer of tensorboardX has a thread and a
queue: if the thread dies because of a full disk, adding to the queue blocks without end.
"""

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any


class EventLog:
    """The events of one process: name and bytes of the file.

    A file is a sequence of TFRecords, each an `Event` of TensorBoard's protocol.
    """

    def __init__(self) -> None:
        """Chooses a file name that is unique in the folder."""
        # seconds, by which TensorBoard sorts; then nanoseconds, to be unique
        self.name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{time.time_ns()}"

    def beginning(self, purge_step: int | None = None) -> bytes:
        """Returns the first bytes of a file.

        Args:
            purge_step: TensorBoard hides events of other files from this step on; None: it hides
                none.
        """
        content = _record(file_version="brain.Event:2")
        if purge_step is not None:
            content += _record(step=purge_step, session_log={"status": "START"})
        return content

    def scalars(self, step: int, values: Mapping[str, float]) -> bytes:
        """Returns the bytes of the events of some scalars, given by tag."""
        return b"".join(
            _record(step=step, summary={"value": [{"tag": tag, "simple_value": value}]})
            for tag, value in values.items()
        )


def _record(**fields: Any) -> bytes:
    """An event as a TFRecord: length, its checksum, content, its checksum."""
    # If PyTorch is installed, tensorboardX imports it, which takes a second and is not needed.
    # Other packages import more: clu and Flax import TensorFlow or PyTorch, and TensorBoard imports
    # TensorFlow if it is installed.
    with _without("torch"):
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import masked_crc32c

    # its names are created at import, so pyright does not know them
    event = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
    content = event(wall_time=time.time(), **fields).SerializeToString()
    length = struct.pack("<Q", len(content))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
    return b"".join((length, next(checksums), content, next(checksums)))


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Makes an optional package look uninstalled, unless it is already imported.

    This affects all threads; none of ours imports it.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # pyright: ignore[reportArgumentType] # documented: an import fails
    try:
        yield
    finally:
        sys.modules.pop(package, None)
