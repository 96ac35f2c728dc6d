"""Times networks at many scales, in JAX and in PyTorch, and draws what decides their step's time.

python -m fastscale_jax.measure.curves --results=curves.jsonl --output=curves/

Each point is measured in a process of its own and added to the results at once. The same command
goes on where it was stopped; points that failed are left alone unless --again is given. At the
end, or with --only_draw, the figures are drawn (PNG, SVG) and listed (CSV) with Pearson's r.

With --target=gpu:h100 nothing is run: programs are compiled for a device that need not be here, and
their floor and their bytes are drawn in the place of time.
"""

import argparse
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

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fastscale_jax.measure import points
from fastscale_jax.measure.points import FRAMEWORKS, OUT_OF_MEMORY, SAID, Spec
from fastscale_jax.targets.compiled_point import compiled_point
from fastscale_jax.targets.store import Store
from fastscale_jax.targets.target import Target

BASES = ("efficientnet:b0", "regnety:500mf", "regnetz:500mf")
STRATEGIES = ("w", "dwr", "dWr", "dw")
FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0)


def measure_all(
    specs: Sequence[Spec],
    results: pathlib.Path,
    *,
    noise: float,
    seconds: float,
    timeout: float,
    rounds: int,
    again: bool,
    tell: Callable[[str], None],
    target: Target | None = None,
) -> list[dict[str, Any]]:
    """Measures the points that a file of results lacks, and returns the records of all.

    Args:
        specs: of the points.
        results: file that records are added to, one line each.
        noise: what a median may be off by, as a share of it.
        seconds: to give a point up after that is noisier.
        timeout: seconds that a point may take in all.
        rounds: measure each point so many times, one round of all after the other, and take the
            fastest.
        again: measure those that failed as well.
        tell: is told what failed, and what is missing.
        target: to compile for; None: points are run on the device that is here.

    Raises:
        ValueError: the file holds something else, or results of another device or other versions.
        OSError: it cannot be written.
    """
    known = {points.spec_of(record): record for record in points.read(results)}
    points.check_same_machine(known.values())
    points.check_alike([*known, *specs])
    points.check_writable(results)
    missing = _due(specs, known, rounds, again)
    if importlib.util.find_spec("torch") is None and any(x.framework != "jax" for x in missing):
        tell(
            "PyTorch is not installed, so only JAX is measured; pip install 'fastscale_jax[torch]'"
        )
        missing = [spec for spec in missing if spec.framework == "jax"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        total = len(specs) * rounds
        bar = progress.add_task("", total=total, completed=max(total - len(missing), 0))
        for spec in missing:
            progress.update(bar, description=spec.title)
            if target:
                found = compiled_point(spec, target, timeout=timeout, store=Store())
            else:
                found = _measured(spec, noise, seconds, timeout)
            record = {**dataclasses.asdict(spec), **found}
            points.check_same_machine([*known.values(), record])
            points.append(results, record)
            known[spec] = points.merged(known.get(spec), record)
            if "error" in record:
                tell(f"{spec.title}: {record['error']}")
            progress.advance(bar)
    return [known[spec] for spec in specs if spec in known]


def _due(
    specs: Sequence[Spec], known: dict[Spec, dict[str, Any]], rounds: int, again: bool
) -> list[Spec]:
    """The points to be measured, round by round."""

    def is_due(spec: Spec, turn: int) -> bool:
        record = known.get(spec)
        if record is None:
            return True
        if "error" in record:
            return again and turn == 1
        return record["rounds"] < turn

    return [spec for turn in range(1, rounds + 1) for spec in specs if is_due(spec, turn)]


def _measured(spec: Spec, noise: float, seconds: float, timeout: float) -> dict[str, Any]:
    """What a process of its own finds, or the error it ends with."""
    given = json.dumps({**dataclasses.asdict(spec), "noise": noise, "seconds": seconds})
    command = [sys.executable, "-m", "fastscale_jax.measure.point", given]
    # in a session of its own, so that what it started ends with it
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, errors = process.communicate(timeout=timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return {"error": f"not done after {timeout:g} s"}
            raise
    lines = errors.strip().splitlines() or ["no reason given"]
    if process.returncode == 0:
        return json.loads(said.splitlines()[-1])
    if process.returncode < 0:
        return {"error": f"ended by signal {-process.returncode}; most likely out of memory"}
    if process.returncode != SAID and any(sign in errors for sign in OUT_OF_MEMORY):
        return {"error": "out of memory"}
    return {"error": lines[-1][:300]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fastscale_jax.measure.curves",
        description=(__doc__ or "").strip().partition("\n")[0],
    )
    comma = " (with commas between)"
    parser.add_argument("--results", type=pathlib.Path, required=True, help="a JSON-lines file")
    parser.add_argument("--output", type=pathlib.Path, help="folder for figures and tables")
    parser.add_argument("--bases", default=",".join(BASES), help="family:base" + comma)
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="w, dWr, a0.6 …" + comma)
    parser.add_argument("--factors", default=",".join(f"{x:g}" for x in FACTORS), help="of flops")
    parser.add_argument(
        "--rows",
        action="store_true",
        help="the rows of the paper's Tables 5 to 8, in place of bases, strategies and factors",
    )
    parser.add_argument("--frameworks", help=f"of {', '.join(FRAMEWORKS)}; all without it" + comma)
    parser.add_argument("--target", help="a device that need not be here: gpu:h100, tpu:v5e …")
    parser.add_argument(
        "--batch_size", help="images a device, or auto: the most that fit; 8, or 128 with --target"
    )
    parser.add_argument("--resolution", type=int, default=0, help="of the bases; 0: their own")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="float32, or with --target the device's 16-bit one",
    )
    parser.add_argument("--noise", type=float, default=0.05, help="of a median, as a share")
    parser.add_argument("--seconds", type=float, default=30.0, help="to give up a noisy point")
    parser.add_argument("--rounds", type=int, default=1, help="of all points; the fastest counts")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for a whole point")
    parser.add_argument("--again", action="store_true", help="measure points that failed again")
    parser.add_argument("--only_draw", action="store_true", help="measure nothing")
    return parser.parse_args()


def _specs(arguments: argparse.Namespace, target: Target | None) -> list[Spec]:
    """The points that are asked for.

    Raises:
        ValueError: there is none of that name, or a number is none.
    """
    usual = "jax" if target else ",".join(FRAMEWORKS)
    frameworks = (arguments.frameworks or usual).split(",")
    if target and frameworks != ["jax"]:
        raise ValueError("--target is for JAX's programs; leave --frameworks out")
    if unknown := [name for name in frameworks if name not in FRAMEWORKS]:
        raise ValueError(f"unknown framework {unknown[0]!r}; choose among {', '.join(FRAMEWORKS)}")
    usual_batch, usual_dtype = target.usual if target else (8, "float32")
    if target:
        target.device.peak(arguments.dtype or usual_dtype)
    batch = arguments.batch_size or str(usual_batch // (target.count if target else 1))
    if batch != "auto" and not (batch.isdigit() and int(batch)):
        raise ValueError(f"--batch_size must be a number above 0, or auto; got {batch!r}")
    try:
        factors = [float(x) for x in arguments.factors.split(",")]
    except ValueError:
        raise ValueError(f"--factors must be numbers; got {arguments.factors!r}") from None
    setting: dict[str, Any] = {
        "batch_size": 0 if batch == "auto" else int(batch),
        "dtype": arguments.dtype or usual_dtype,
        "resolution": arguments.resolution,
    }
    if arguments.rows:
        return points.paper_rows(frameworks, **setting)
    bases, strategies = arguments.bases.split(","), arguments.strategies.split(",")
    specs = points.grid(bases, strategies, factors, frameworks, **setting)
    for spec in specs:
        spec.network()
    return specs


def main() -> int:
    """Measures, then draws."""
    arguments = _arguments()

    def tell(line: str) -> None:
        print(f"fastscale_jax: {line}", file=sys.stderr)

    try:
        target = Target.parse(arguments.target) if arguments.target else None
        specs = _specs(arguments, target)
        if arguments.rounds < 1:
            raise ValueError(f"--rounds must be at least 1; got {arguments.rounds}")
        if arguments.only_draw and arguments.output is None:
            raise ValueError("--only_draw needs a folder to draw to, as --output")
        if arguments.only_draw:
            found = points.read(arguments.results)
            points.check_alike([points.spec_of(record) for record in found])
        else:
            found = measure_all(
                specs,
                arguments.results,
                noise=arguments.noise,
                seconds=arguments.seconds,
                timeout=arguments.timeout,
                rounds=arguments.rounds,
                again=arguments.again,
                tell=tell,
                target=target,
            )
        if arguments.output is not None:
            from fastscale_jax.measure import curve_figures

            curve_figures.write(found, arguments.output)
            for quantity in curve_figures.quantities(found):
                Console().print(curve_figures.table(found, quantity))
    except ValueError as error:
        tell(str(error))
        return 2
    except OSError as error:
        tell(f"{error.filename or arguments.results} cannot be written: {error.strerror}")
        return 2
    except KeyboardInterrupt:
        tell("interrupted; the same command goes on")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
