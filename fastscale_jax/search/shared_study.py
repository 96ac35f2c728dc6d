"""A study that several workers open, of which one begins it: all must mean the same."""

import time
from collections.abc import Mapping
from typing import Any

import optuna

from fastscale_jax.search.storage import Storage
from fastscale_jax.utils.nested import as_flat

JOBS = "jobs"  # of what workers agree on, the networks' digest
_ABOUT = "about"  # attribute of a study: what is searched
_SECONDS_TO_SAY = 10  # that whoever begins a study has to say what it is


def opened(storage: Storage, name: str, about: Mapping[str, Any]) -> optuna.Study:
    """Begins a study, or joins it if it is the same.

    Args:
        storage: where it is.
        name: of the study.
        about: what all its workers must agree on, as JSON has it.

    Raises:
        StorageError: the storage cannot be reached.
        ValueError: says where they differ.
    """
    with storage.reached():
        try:  # of several that begin it, the storage lets one alone have made it
            study = optuna.create_study(
                study_name=name, storage=storage.optuna, direction="minimize"
            )
            study.set_user_attr(_ABOUT, about)
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage.optuna)
        told = _told(study, about)
    if told == about:
        return study
    other = f"the study {name!r} in {storage.name} is another one"
    advice = "give --name another name, and --output another folder"
    if told is None:
        raise ValueError(f"{other}, which was not made by a search; {advice}")
    raise ValueError(f"{other}, with {_differences(told, about)}; {advice}")


def _told(study: optuna.Study, about: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the study is, by the word of whoever began it; None: it is none of ours."""
    until = time.monotonic() + _SECONDS_TO_SAY
    while (told := study.user_attrs.get(_ABOUT)) is None:
        if study.get_trials(deepcopy=False):
            return None
        if time.monotonic() > until:  # they died before they said it
            study.set_user_attr(_ABOUT, about)
        time.sleep(0.1)
    return told


def _differences(told: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Where two searches differ, in words; of what is nested, the innermost keys."""
    a, b = as_flat(told), as_flat(about)
    differing = sorted(key for key in {*a, *b} if a.get(key) != b.get(key) and key != JOBS)
    said = [f"{key}: {a.get(key)}, not {b.get(key)}" for key in differing]
    return "; ".join(said or ["other networks or seeds"])
