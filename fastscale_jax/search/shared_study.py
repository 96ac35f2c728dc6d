"""Opens a study shared by several workers, and checks that all have the same settings."""

import time
from collections.abc import Mapping
from typing import Any

import optuna

from fastscale_jax.search.storage import Storage
from fastscale_jax.utils.nested import as_flat

JOBS = "jobs"  # key of the networks' digest in the shared settings
_ABOUT = "about"  # attribute of a study: the shared settings
_SECONDS_TO_SAY = 10  # time for a study's creator to store the settings


def opened(storage: Storage, name: str, about: Mapping[str, Any]) -> optuna.Study:
    """Creates a study, or joins it if its settings are the same.

    Args:
        storage: the study's storage.
        name: the study's name.
        about: settings that all its workers must share, ready for JSON.

    Raises:
        StorageError: the storage cannot be reached.
        ValueError: the settings differ; the message lists the differences.
    """
    with storage.reached():
        try:  # if several workers create it at once, the storage lets one succeed
            study = optuna.create_study(
                study_name=name, storage=storage.optuna, direction="minimize"
            )
            study.set_user_attr(_ABOUT, about)
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage.optuna)
        stored = _told(study, about)
    if stored == about:
        return study
    other = f"the study {name!r} in {storage.name} is another one"
    advice = "give --name another name, and --output another folder"
    if stored is None:
        raise ValueError(f"{other}, which was not made by a search; {advice}")
    raise ValueError(f"{other}, with {_differences(stored, about)}; {advice}")


def _told(study: optuna.Study, about: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings stored by the study's creator; None: it was not made by a search."""
    until = time.monotonic() + _SECONDS_TO_SAY
    while (stored := study.user_attrs.get(_ABOUT)) is None:
        if study.get_trials(deepcopy=False):
            return None
        if time.monotonic() > until:  # the creator died before it stored them
            study.set_user_attr(_ABOUT, about)
        time.sleep(0.1)
    return stored


def _differences(stored: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """The differences of two searches' settings, as text with dotted keys."""
    a, b = as_flat(stored), as_flat(about)
    differing = sorted(key for key in {*a, *b} if a.get(key) != b.get(key) and key != JOBS)
    differences = [f"{key}: {a.get(key)}, not {b.get(key)}" for key in differing]
    return "; ".join(differences or ["other networks or seeds"])
