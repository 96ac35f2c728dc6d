"""Locks a folder of an object store, so that one run at a time writes to it.

A store has no locks, but it can write an object only if its generation is a given one. So a run
keeps an object, the lease, and rewrites it every few seconds. A run that finds a lease waits to see
whether it is renewed. Clocks of other machines do not matter.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Self

from fastscale_jax.checkpoints.lock import InUseError
from fastscale_jax.checkpoints.stores import SCHEME, Folder, StoreError

_NAME = "lease"
_SECONDS = 10.0  # between two renewals
_PATIENCE = 60.0  # seconds to wait for an answer of the store
_MISSED = 3  # number of missed renewals after which a lease is taken over


class LeaseLostError(Exception):
    """Another run has taken over the lease, because this run did not renew it in time."""


class Lease:
    """Keeps other runs out of a folder of a store. Use it in a `with` statement."""

    def __init__(
        self,
        store: Any,
        name: str,
        tell: Callable[[str], object],
        *,
        seconds: float = _SECONDS,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        """Stores the arguments; nothing is written before the `with` statement.

        Args:
            store: a `tensorstore.KvStore` of the folder.
            name: name of the folder, for messages.
            tell: prints a line for the user.
            seconds: seconds between two renewals.
            wait: waits for an event, at most some seconds; tests replace it.
        """
        self._store, self._name, self._tell = store, name, tell
        self._seconds, self._wait = seconds, wait
        self._token, self._renewals = uuid.uuid4().hex, 0
        self._generation = b""
        self._lost_to = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    def of(cls, folder: Folder, tell: Callable[[str], object]) -> "Lease":
        """Returns the lease of a folder `gs://bucket/folder`."""
        import tensorstore as ts

        bucket, _, path = os.fspath(folder).removeprefix(SCHEME).partition("/")
        spec = {"driver": "gcs", "bucket": bucket, "path": f"{path.rstrip('/')}/"}
        return cls(ts.KvStore.open(spec).result(), os.fspath(folder), tell)

    def __enter__(self) -> Self:
        """Takes the lease.

        Raises:
            InUseError: another run renews it.
            StoreError: the store cannot be reached, or refuses writing.
        """
        try:
            self._take()
        except InUseError:
            raise
        except Exception as error:  # TensorStore raises many errors
            raise StoreError(f"{self._name} cannot be locked: {_line(error)}") from error
        self._thread.start()
        return self

    def _take(self) -> None:
        existing = self._read()
        if existing.state == "value":
            self._wait_until_expired(existing)
        if not self._write(existing.stamp.generation):
            raise self._in_use(self._read().value)

    def __exit__(self, *raised: object) -> None:
        """Deletes the lease, so that the next run does not wait."""
        self._over.set()
        self._thread.join()
        try:
            self._store.write(_NAME, None, if_equal=self._generation).result(_PATIENCE)
        except Exception as error:  # TensorStore raises many errors for an unreachable store
            self._tell(f"warning: the lease of {self._name} could not be deleted: {_line(error)}")

    def check(self) -> None:
        """Raises an error if another run has taken over the lease.

        Raises:
            LeaseLostError: another run has taken it over.
        """
        if self._lost_to:
            raise LeaseLostError(
                f"another run ({self._lost_to}) has taken over {self._name}, because "
                f"this run did not renew its lease for {_MISSED * self._seconds:.0f} s"
            )

    def _wait_until_expired(self, existing: Any) -> None:
        """Waits as long as a live run may take to renew its lease.

        Raises:
            InUseError: it is renewed.
        """
        self._tell(
            f"{self._name} has the lease of a run ({_owner(existing.value)}); waiting up to "
            f"{_MISSED * self._seconds:.0f} s to see whether that run is still alive"
        )
        until = time.monotonic() + _MISSED * self._seconds
        while (left := until - time.monotonic()) > 0:
            self._wait(self._over, min(left, self._seconds / 5))
            now = self._read()
            if now.state == "value" and now.stamp.generation != existing.stamp.generation:
                raise self._in_use(now.value)

    def _in_use(self, content: bytes) -> InUseError:
        return InUseError(
            f"another run is at work in {self._name} ({_owner(content)}); wait for it, stop it, or "
            "give this run another folder"
        )

    def _renew(self) -> None:
        while not self._wait(self._over, self._seconds):
            try:
                if not self._write(self._generation):
                    now = self._read()
                    if _token(now.value) == self._token:  # it was written, but the answer was lost
                        self._generation = now.stamp.generation
                        continue
                    self._lost_to = _owner(now.value)
                    return
            except Exception:  # the next renewal may succeed; if none does, the lease is taken over
                continue

    def _read(self) -> Any:
        return self._store.read(_NAME).result(_PATIENCE)

    def _write(self, generation: bytes) -> bool:
        """Writes the lease if its generation is still `generation`; returns whether it was."""
        self._renewals += 1  # so that each renewal has new content, and so a new generation
        content = {
            "owner": f"process {os.getpid()} on {socket.gethostname()}",
            "token": self._token,
            "renewals": self._renewals,
        }
        stamp = self._store.write(_NAME, json.dumps(content), if_equal=generation).result(_PATIENCE)
        if not stamp.generation:
            return False
        self._generation = stamp.generation
        return True


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _owner(content: bytes) -> str:
    return str(_parsed(content).get("owner", "unknown"))


def _token(content: bytes) -> Any:
    return _parsed(content).get("token")


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
