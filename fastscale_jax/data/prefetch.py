"""Copies batches to the device before they are needed."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from fastscale_jax.data.pipeline import Batch

AHEAD = 2  # one in use, one being copied

_Put = Callable[[Batch], Any]


class _End(NamedTuple):
    """The last item of the queue."""

    error: BaseException | None = None  # the thread's error, if any


class Prefetch(Iterator[Any], contextlib.AbstractContextManager["Prefetch"]):
    """Yields batches on the device; a thread copies them ahead of their use.

    Only the thread reads the host's batches. An error in them is raised by `__next__`, after the
    batches before it. Use it in a `with` statement, or call `close`, to end the thread.
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
            batches: batches on the host.
            put: copies a batch to the device or devices, for instance
                `functools.partial(jax.device_put, device=sharding)`.
            ahead: number of batches waiting on the device; the host may hold one more.
        """
        self._batches, self._put = batches, put
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._free = threading.Semaphore(ahead)  # free slots on the device
        self._closed = False
        # a daemon: a program that does not call `close` can still end
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)
        self._thread.start()

    def __exit__(self, *raised: object) -> None:
        """Ends the thread."""
        self.close()

    def __next__(self) -> Any:
        """Returns the next batch; waits until it is ready."""
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
        """Whether the next batch is ready."""
        return not self._ready.empty()

    def close(self) -> None:
        """Ends the thread after its current batch; no more batches are yielded."""
        self._closed = True
        self._free.release()  # the thread may be waiting for a free slot
        self._thread.join()

    def _fill(self) -> None:
        end = _End()
        try:
            for batch in self._batches:
                self._free.acquire()
                if self._closed:
                    return
                self._ready.put(self._put(batch))
        except BaseException as error:  # the consumer raises it, whatever it is
            end = _End(error)
        self._ready.put(end)
