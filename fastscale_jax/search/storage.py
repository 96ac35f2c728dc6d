"""The database that a search's workers share, and its errors as one-line messages."""

import contextlib
import random
import time
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import sqlalchemy.engine
import sqlalchemy.exc

_OPENINGS = 4  # attempts to open a storage


class StorageError(Exception):
    """A storage cannot be reached or does not answer; the message names it."""


class OverError(Exception):
    """A write to a trial that has already ended."""


class Storage:
    """An Optuna database whose errors are one-line messages."""

    def __init__(self, url: str, heartbeat_seconds: int) -> None:
        """Opens the database, and makes missing tables.

        Args:
            url: as in `sqlite:///search.db` or `postgresql://user@host/database`.
            heartbeat_seconds: seconds between signs of life. A worker without one for four times as
                long counts as dead.

        Raises:
            StorageError: it cannot be reached.
            ValueError: an invalid URL, or its driver is not installed.
        """
        self.name = _without_password(url)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            sqlalchemy.engine.make_url(_with_driver(url)).get_dialect()
        except (sqlalchemy.exc.ArgumentError, ValueError):
            raise ValueError(
                f"{self.name!r} is no storage; give one as in sqlite:///search.db or "
                "postgresql://user@host/database"
            ) from None
        for attempt in range(1, _OPENINGS + 1):
            try:
                with self.reached():
                    self.optuna = optuna.storages.RDBStorage(
                        _with_driver(url),
                        engine_kwargs=_engine_options(url),
                        heartbeat_interval=heartbeat_seconds,
                        grace_period=4 * heartbeat_seconds,
                    )
                return
            except StorageError:  # another worker may be making the same tables
                if attempt == _OPENINGS:
                    raise
                time.sleep(attempt * random.random())

    def close(self) -> None:
        """Closes its connections."""
        self.optuna.remove_session()
        self.optuna.engine.dispose()

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turns the database's exceptions into ours.

        Raises:
            OverError: a write to a trial that has ended.
            StorageError: it cannot be reached, or its tables are of another version.
            ValueError: its driver is not installed.
        """
        try:
            with warnings.catch_warnings():
                # Optuna warns that heartbeats are experimental
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise OverError from error
        except ImportError as error:
            raise ValueError(f"{self.name} needs a driver that is not installed: {error}") from None
        except (
            sqlalchemy.exc.SQLAlchemyError,
            optuna.exceptions.StorageInternalError,
            RuntimeError,  # tables of another version
        ) as error:
            why = error.__cause__ if error.__cause__ is not None else error
            lines = str(getattr(why, "orig", why)).strip().splitlines() or [type(why).__name__]
            raise StorageError(f"{self.name} cannot be used: {lines[0]}") from error


def _without_password(url: str) -> str:
    """The URL without its password; of an invalid URL, its first characters."""
    try:
        return sqlalchemy.engine.make_url(url).set(query={}).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return f"{url[:10]}…" if len(url) > 10 else url


def _with_driver(url: str) -> str:
    """The URL with the PostgreSQL driver that the `search` extra brings."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}  # seconds to wait while another worker writes
    # a connection may break while a network is trained
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("postgres"):
        options["connect_args"] = {"connect_timeout": 10}  # seconds
    return options
