"""Measurements and trained networks that a report may show besides its computed costs."""

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
    """Measurements and trained networks; none by default.

    Attributes:
        results: step times.
        trials: runs of a study.
        trained: results of runs.
        device: device model that predicts step times; None: no model.
        programs: training steps compiled for targets.
        findings: results of `fastscale device`, one per base and device.
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
    """Reads the inputs from files.

    Args:
        results: files of `measure.curves`.
        study_file: JSON lines, one trained network each.
        device: a file of `measure.fit`, or the name of a saved model; None: the only model that was
            fitted on this machine, if any; empty: no model.
        workdirs: folders of runs.
        programs: files of `fastscale curves --target`, besides the packaged ones.
        device_files: files of `search.device`.

    Raises:
        ValueError: a file is missing, has another format, or has results of several devices.
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
    findings = [each for path in paths for each in device_results.read(path)]
    names = [(each.device, each.base) for each in findings]
    if twice := [name for name in names if names.count(name) > 1]:
        device, base = twice[0]
        raise ValueError(f"results of {base} on {device} are in several files; give one of them")
    return tuple(findings)


def _only_fitted_device() -> DeviceModel | None:
    """The device model that `arch.scale` would use; None: there is none, or several."""
    of_jax = [each for each in fitted.saved().values() if each.framework == "jax"]
    return of_jax[0] if len(of_jax) == 1 and of_jax[0].step_ms else None


def _device(choice: str) -> DeviceModel:
    try:
        model = fitted.find(choice)
    except ValueError as error:
        # the message names the environment variable, which is the other way to choose a model
        raise ValueError(str(error).replace(f"{fitted.CHOICE}=", "--device=")) from error
    model.fit_of("step_ms", POOLED)
    return model
