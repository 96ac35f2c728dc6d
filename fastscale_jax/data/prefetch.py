"""Batches put onto the device before they are needed."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from fastscale_jax.data.pipeline import Batch

AHEAD = 2  # one to be computed with, one to be copied

_Put = Callable[[Batch], Any]


class _End(NamedTuple):
    """What the thread leaves last."""

    error: BaseException | None = None  # what went wrong in it


class Prefetch(Iterator[Any], contextlib.AbstractContextManager["Prefetch"]):
    """Yields batches on the device, which a thread keeps ahead of their use.

    The thread alone touches the host's batches. What they raise is raised here, after the batches
    before it. Use it in a `with` statement, or call `close`: it ends the thread.
    """

    def __init__(
        self,
        batches: Iterator[Batch],
        *,
        put: _Put = jax.device_put,
        ahead: int = AHEAD,
    ) -> None:
        """Starts the thread.

        Args:
            batches: of the host.
            put: brings a batch onto the device or devices, as in
                `functools.partial(jax.device_put, device=sharding)`.
            ahead: batches on the device that wait for their use; the host may hold one more.
        """
        self._batches, self._put = batches, put
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._free = threading.Semaphore(ahead)  # places on the device
        self._closed = False
        # a daemon, so that a program that forgets to close can end
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)
        self._thread.start()

    def __exit__(self, *raised: object) -> None:
        """Ends the thread."""
        self.close()

    def __next__(self) -> Any:
        """Returns the next batch; waits for it where it is not ready."""
        if self._closed:
            raise StopIteration
        batch = self._ready.get()
        if not isinstance(batch, _End):
            self._free.release()
            return batch
        self.close()
        if batch.error is not None:
            raise batch.error
        raise StopIteration

    def is_ready(self) -> bool:
        """Whether the next batch is there."""
        return not self._ready.empty()

    def close(self) -> None:
        """Ends the thread after the batch that it is at; no more are yielded."""
        self._closed = True
        self._free.release()  # the thread may be waiting for a place
        self._thread.join()

    def _fill(self) -> None:
        end = _End()
        try:
            for batch in self._batches:
                self._free.acquire()
                if self._closed:
                    return
                self._ready.put(self._put(batch))
        except BaseException as error:  # whatever it is, the consumer raises it
            end = _End(error)
        self._ready.put(end)
