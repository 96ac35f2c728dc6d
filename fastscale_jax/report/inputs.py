"""Measurements and trained networks that a report may show, beside what it computes itself."""

import dataclasses
import pathlib
from collections.abc import Sequence

from fastscale_jax.arch.device_model import POOLED, DeviceModel
from fastscale_jax.measure import fitted
from fastscale_jax.report import compiled, measured, trained
from fastscale_jax.report.compiled import Compiled
from fastscale_jax.report.measured import Results
from fastscale_jax.report.trained import Trained
from fastscale_jax.search import device_results, study_results
from fastscale_jax.search.device_results import Findings
from fastscale_jax.search.study_results import Trial


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Measurements and trained networks; by default there are none.

    Attributes:
        results: step times.
        trials: of a study.
        trained: results of runs.
        device: the model that predicts step times; None: there is none.
        programs: training steps that were compiled for devices that are not here.
        findings: networks by their shares on devices, and on targets that they were compiled for.
    """

    results: Results = dataclasses.field(default_factory=Results)
    trials: tuple[Trial, ...] = ()
    trained: tuple[Trained, ...] = ()
    device: DeviceModel | None = None
    programs: tuple[Compiled, ...] = ()
    findings: tuple[Findings, ...] = ()


def read(
    results: Sequence[pathlib.Path] = (),
    study_file: pathlib.Path | None = None,
    device: str | None = "",
    workdirs: Sequence[pathlib.Path] = (),
    programs: Sequence[pathlib.Path] = (),
    device_files: Sequence[pathlib.Path] = (),
) -> Inputs:
    """Returns the inputs that are in some files.

    Args:
        results: files of `measure.curves`.
        study_file: JSON lines, a trained network each.
        device: a file of `measure.fit`, or the name of a saved one; None: the one that was fitted
            on this machine, if there is just one; empty: none.
        workdirs: of runs.
        programs: files of `fastscale curves --target`, beside the packaged ones.
        device_files: of `search.device`.

    Raises:
        ValueError: a file is not there, is something else, or holds what does not belong together.
    """
    return Inputs(
        measured.read(results) if results else Results(),
        study_results.read(study_file) if study_file else (),
        trained.read(workdirs),
        _only_fitted_device() if device is None else _device(device) if device else None,
        compiled.read(programs),
        _findings(device_files),
    )


def _findings(paths: Sequence[pathlib.Path]) -> tuple[Findings, ...]:
    found = [each for path in paths for each in device_results.read(path)]
    names = [(each.device, each.base) for each in found]
    if twice := [name for name in names if names.count(name) > 1]:
        device, base = twice[0]
        raise ValueError(f"results of {base} on {device} are in several files; give one of them")
    return tuple(found)


def _only_fitted_device() -> DeviceModel | None:
    """The device model that `arch.scale` would take, if any."""
    of_jax = [each for each in fitted.saved().values() if each.framework == "jax"]
    return of_jax[0] if len(of_jax) == 1 and of_jax[0].step_ms else None


def _device(choice: str) -> DeviceModel:
    try:
        model = fitted.find(choice)
    except ValueError as error:
        # the message speaks of the environment variable, the other way to choose
        raise ValueError(str(error).replace(f"{fitted.CHOICE}=", "--device=")) from error
    model.fit_of("step_ms", POOLED)
    return model
