"""Times networks at many scales, each in its own process.

Each point is added to the results at once, so that the same command continues where it stopped.
Points that failed are measured again only on request.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fastscale_jax.measure.points import NO_MEMORY, OUT_OF_MEMORY, SAID, Spec
from fastscale_jax.measure.points_file import PointsFile
from fastscale_jax.utils.console import stderr_console
from fastscale_jax.utils.installation import pip_install


def measure_all(
    specs: Sequence[Spec],
    results: pathlib.Path,
    *,
    take: Callable[[Spec], dict[str, Any]],
    rounds: int,
    again: bool,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Measures the points that a results file does not have yet; returns all records.

    Args:
        specs: points to measure.
        results: file that records are added to, one per line.
        take: times or compiles a point, and returns its figures or its error.
        rounds: number of measurements of each point, in rounds over all points; the fastest counts.
        again: also retry points that failed.
        tell: called with messages about failures and missing packages.

    Raises:
        ValueError: the file is no results file, or is of another device or other versions.
        OSError: it cannot be written.
    """
    file = PointsFile(results, specs)
    missing = [
        spec
        for turn in range(1, rounds + 1)
        for spec in specs
        if file.is_due(spec, turn, again=again)
    ]
    if importlib.util.find_spec("torch") is None and any(x.framework != "jax" for x in missing):
        tell(f"PyTorch is not installed, so only JAX is measured; {pip_install('torch')}")
        missing = [spec for spec in missing if spec.framework == "jax"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=stderr_console()) as progress:
        total = len(specs) * rounds
        bar = progress.add_task("", total=total, completed=max(total - len(missing), 0))
        for spec in missing:
            progress.update(bar, description=spec.title)
            record = file.add(spec, take(spec))
            if "error" in record:
                tell(f"{spec.title}: {record['error']}")
            progress.advance(bar)
    return [file.known[spec] for spec in specs if spec in file.known]


def measured(spec: Spec, *, noise: float, seconds: float, timeout: float) -> dict[str, Any]:
    """Measures a point in its own process; returns its figures or its error.

    Args:
        spec: point to measure.
        noise: largest relative error of a median.
        seconds: seconds after which a noisier point is given up.
        timeout: most seconds for the process.
    """
    request = json.dumps({**dataclasses.asdict(spec), "noise": noise, "seconds": seconds})
    command = [sys.executable, "-m", "fastscale_jax.measure.point", request]
    # in its own session, so that its child processes can be ended with it
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException as error:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:  # Windows has no groups of processes
                process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                return {"error": f"not done after {timeout:g} s"}
            raise
    lines = errors.strip().splitlines() or ["no reason given"]
    if process.returncode == 0:
        return json.loads(output.splitlines()[-1])
    if process.returncode < 0:
        return {"error": f"ended by signal {-process.returncode}; most likely out of memory"}
    if process.returncode != SAID and any(sign in errors for sign in OUT_OF_MEMORY):
        return {"error": NO_MEMORY}
    return {"error": lines[-1][:300]}


if __name__ == "__main__":
    from fastscale_jax.main import face

    face("curves")
