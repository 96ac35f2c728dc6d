"""A folder of an object store that is written by one run at a time.

A store has no locks, but it writes an object only if that is still of a generation that one has
seen. So a run keeps an object, the lease, and writes it anew every few seconds. Whoever finds one
waits to see whether it is renewed. No clock of another machine matters.
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
_PATIENCE = 60.0  # seconds that the store has to answer in
_MISSED = 3  # renewals, after which a lease is taken over


class LeaseLostError(Exception):
    """Another run has taken the lease over, because this one did not renew it for too long."""


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
        """Takes what stays the same; nothing is written before the `with` statement.

        Args:
            store: a `tensorstore.KvStore` of the folder.
            name: of the folder, for people.
            tell: shows a line to a person.
            seconds: between two renewals.
            wait: for tests, which have no time to wait.
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
            StoreError: the store cannot be reached, or does not let us write.
        """
        try:
            self._take()
        except InUseError:
            raise
        except Exception as error:  # whatever TensorStore raises
            raise StoreError(f"{self._name} cannot be locked: {_line(error)}") from error
        self._thread.start()
        return self

    def _take(self) -> None:
        found = self._read()
        if found.state == "value":
            self._wait_until_given_up(found)
        if not self._write(found.stamp.generation):
            raise self._in_use(self._read().value)

    def __exit__(self, *raised: object) -> None:
        """Gives the lease back, so that the next run need not wait."""
        self._over.set()
        self._thread.join()
        try:
            self._store.write(_NAME, None, if_equal=self._generation).result(_PATIENCE)
        except Exception as error:  # whatever TensorStore raises for a store that is not there
            self._tell(f"warning: the lease of {self._name} is not given back: {_line(error)}")

    def check(self) -> None:
        """Refuses to go on where another run has taken over.

        Raises:
            LeaseLostError: it has.
        """
        if self._lost_to:
            raise LeaseLostError(
                f"another run ({self._lost_to}) has taken {self._name} over, after "
                f"{_MISSED * self._seconds:.0f} s without a sign of life of this one"
            )

    def _wait_until_given_up(self, found: Any) -> None:
        """Waits for as long as a run that is alive takes to renew what was found.

        Raises:
            InUseError: it is renewed.
        """
        self._tell(
            f"{self._name} has the lease of a run ({_owner(found.value)}); waiting up to "
            f"{_MISSED * self._seconds:.0f} s to see whether that is still at work"
        )
        until = time.monotonic() + _MISSED * self._seconds
        while (left := until - time.monotonic()) > 0:
            self._wait(self._over, min(left, self._seconds / 5))
            now = self._read()
            if now.state == "value" and now.stamp.generation != found.stamp.generation:
                raise self._in_use(now.value)

    def _in_use(self, content: bytes) -> InUseError:
        return InUseError(
            f"another run is at work in {self._name} ({_owner(content)}); wait for it, stop it, or "
            "give this run another place"
        )

    def _renew(self) -> None:
        while not self._wait(self._over, self._seconds):
            try:
                if not self._write(self._generation):
                    now = self._read()
                    if _token(now.value) == self._token:  # written, and the answer was lost
                        self._generation = now.stamp.generation
                        continue
                    self._lost_to = _owner(now.value)
                    return
            except Exception:  # the next one may get through; if not, it is taken over
                continue

    def _read(self) -> Any:
        return self._store.read(_NAME).result(_PATIENCE)

    def _write(self, generation: bytes) -> bool:
        """Writes the lease if it is still of a generation; returns whether it was."""
        self._renewals += 1  # so that each is another content, and another generation
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
