"""Where the workers of a search agree: a database, by its URL, and what may be wrong with it."""

import contextlib
import random
import time
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import sqlalchemy.engine
import sqlalchemy.exc

_OPENINGS = 4  # before a storage is said to be out of reach


class StorageError(Exception):
    """A storage cannot be reached, or stopped answering; says which."""


class OverError(Exception):
    """What was to be written is of a trial that is over already."""


class Storage:
    """A database of Optuna's, whose errors are one line for people."""

    def __init__(self, url: str, heartbeat_seconds: int) -> None:
        """Opens it, and makes its tables if need be.

        Args:
            url: as in `sqlite:///search.db` or `postgresql://user@host/database`.
            heartbeat_seconds: between signs of life. Who gives none for four times as long is dead.

        Raises:
            StorageError: it cannot be reached.
            ValueError: the URL is none, or needs a driver that is not installed.
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
            except StorageError:  # perhaps another worker is just making the same tables
                if attempt == _OPENINGS:
                    raise
                time.sleep(attempt * random.random())

    def close(self) -> None:
        """Closes its connections."""
        self.optuna.remove_session()
        self.optuna.engine.dispose()

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Says in one line why the storage cannot be used.

        Raises:
            OverError: what was to be written is of a trial that is over.
            StorageError: it cannot be reached, or its tables are of another version.
            ValueError: its driver is not installed.
        """
        try:
            with warnings.catch_warnings():
                # signs of life are called experimental
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise OverError from error
        except ImportError as error:
            raise ValueError(f"{self.name} needs a driver that is not installed: {error}") from None
        except (
            sqlalchemy.exc.SQLAlchemyError,
            optuna.exceptions.StorageInternalError,
            RuntimeError,  # of a database with tables of another version
        ) as error:
            why = error.__cause__ if error.__cause__ is not None else error
            lines = str(getattr(why, "orig", why)).strip().splitlines() or [type(why).__name__]
            raise StorageError(f"{self.name} cannot be used: {lines[0]}") from error


def _without_password(url: str) -> str:
    """The URL as it may be shown to people; of one that cannot be read, its beginning."""
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
    # a connection may have been cut while a network was trained
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("postgres"):
        options["connect_args"] = {"connect_timeout": 10}  # seconds
    return options
