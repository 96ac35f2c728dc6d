"""All that a GPU has to tell us, in the minutes that there is one.

python -m benchmarks.on_device --output=benchmarks/results/on_device_<device>.jsonl

Four sections, within `--minutes` in all: training steps of six networks against PyTorch's, eager
and compiled (`train`); steps over the points of the curves (`curves`); convs in every form
(`convs`); and the digits command (`digits`). Each has a share of the time, the most important jobs
come first, and what time is left goes to those that were passed over. Results are added to the file
at once, and the same command goes on where it was stopped. In the end a table says what to change.

`--small` tries it on a CPU in about two minutes; its figures mean nothing. `--only_print` prints a
file's table anywhere. Beside each step stands the floor of its compiled program, which
`benchmarks.program_floors` makes: of this device in `benchmarks/results`, or `--floors`.
"""

import argparse
import importlib.util
import math
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.on_device_jobs import (
    ConvPass,
    Digits,
    Job,
    Results,
    Settings,
    as_record,
    plan,
    title,
)
from benchmarks.on_device_results import check_same_machine, read
from benchmarks.on_device_table import Floors, report
from benchmarks.worker import FULL, Workers
from fastscale_jax.measure import points
from fastscale_jax.measure.provenance import command, today

# shares of the time, in the order of the sections
SHARES = {"train": 0.5, "curves": 0.15, "convs": 0.25, "digits": 0.1}
# seconds that a job takes, until some of its kind are measured; and those to give it up after
_SECONDS = {
    "jax": (45, 240),
    "torch": (10, 90),
    "torch-compile": (50, 240),
    "conv": (3, 45),
    "digits": (60, 180),
}
_START_SECONDS = 120  # for the first answer of all: what the device is
_FAILURES = 2  # of a framework, without a success, after which it is left alone


def measure(
    ask: Callable[[str, dict[str, Any], float], dict[str, Any]],
    settings: Settings,
    known: Results,
    output: pathlib.Path,
    *,
    sections: Sequence[str],
    seconds: float,
    tell: Callable[[str], None],
) -> None:
    """Measures what is not known yet, as far as the time goes.

    Args:
        ask: as `Workers.ask`.
        settings: what to measure.
        known: results by job, to which new ones are added.
        output: file that they are added to as well, one line each.
        sections: some of `SHARES`.
        seconds: for all.
        tell: is told what is done, and what is not.

    Raises:
        OSError: the file cannot be written.
    """
    since = time.monotonic()
    end, total = since + seconds, sum(SHARES[name] for name in sections)

    def measure_section(section: str, until: float) -> None:
        while job := _next(plan(settings, known)[section], known, until - time.monotonic()):
            limit, left = _limit(job), end - time.monotonic()
            began = time.monotonic()
            answer = ask(_framework(job), as_record(job), min(limit, left))
            took = time.monotonic() - began
            if "error" in answer and limit > left and took >= left:
                return  # the time was up, which says nothing of the job
            answer = _checked(answer, settings)
            known[job] = {**as_record(job), "seconds": round(took, 2), "date": today(), **answer}
            points.append(output, known[job])
            tell(f"{time.monotonic() - since:4.0f} s  {title(job)}: {_summary(answer)}")

    share = 0.0
    for section in sections:
        share += SHARES[section] / total
        measure_section(section, since + share * seconds)
    for section in sections:
        measure_section(section, end)
    for section in sections:
        jobs = list(dict.fromkeys(plan(settings, known)[section]))
        if missing := sum(job not in known for job in jobs):
            tell(
                f"{section}: {missing} of {len(jobs)} not measured, because the time is up or the "
                "framework fails; the same command goes on"
            )


def _next(jobs: Sequence[Job], known: Results, left: float) -> Job | None:
    """The first job that is not known, and for which the time that is left will do."""

    def is_due(job: Job) -> bool:
        return job not in known and not _fails(job, known) and _expected(job, known) <= left

    return next(filter(is_due, jobs), None)


def _fails(job: Job, known: Results) -> bool:
    """Whether nothing works of a job's kind: `torch.compile` without a compiler, for example."""
    errors = [x.get("error") for other, x in known.items() if _framework(other) == _framework(job)]
    return len(errors) >= _FAILURES and all(error not in (None, FULL) for error in errors)


def _framework(job: Job) -> str:
    """What the worker of a job is named by."""
    return {ConvPass: "conv", Digits: "digits"}.get(type(job)) or getattr(job, "framework", "")


def _limit(job: Job) -> float:
    return _SECONDS[_framework(job)][1]


def _expected(job: Job, known: Results) -> float:
    """The seconds that a job will take: as those of its kind did."""
    name = _framework(job)
    done = (record for other, record in known.items() if _framework(other) == name)
    times = [record["seconds"] for record in done if "error" not in record]
    return statistics.median(times) if times else _SECONDS[name][0]


def _checked(answer: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """An answer without its machine, which is the file's."""
    machine = answer.pop("machine", None)
    if machine and machine["platform"] != settings.platform:
        return {"error": f"it ran on a {machine['platform']}, not on the {settings.platform}"}
    return answer


def _summary(answer: Mapping[str, Any]) -> str:
    if "error" in answer:
        return answer["error"]
    if "command_seconds" in answer:
        return f"{answer['command_seconds']:.1f} s"
    return f"{answer.get('ms', answer.get('step_ms', math.nan)):.4g} ms"


def _settings(arguments: argparse.Namespace, platform: str) -> Settings:
    if platform == "cpu" and not arguments.small:
        raise ValueError("JAX finds no GPU here; --small tries this on the CPU")
    of = Settings.small if arguments.small else Settings.full
    settings = of(platform, arguments.batch)
    return settings.without_torch() if importlib.util.find_spec("torch") is None else settings


def _environment(is_small: bool) -> dict[str, str]:
    """What the workers are started with, beside what is set."""
    # nothing that was compiled before, whose time is one of the results
    environment = {"JAX_COMPILATION_CACHE_DIR": ""}
    if is_small:
        quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"}
        return {**environment, **quick, "CUDA_VISIBLE_DEVICES": ""}
    if "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.9"  # PyTorch may take all
    return environment


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.on_device", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a JSON-lines file")
    parser.add_argument("--minutes", type=float, default=12.0, help="for all that is measured")
    parser.add_argument("--sections", default=",".join(SHARES), help="some of these")
    parser.add_argument("--batch", type=int, default=0, help="images; 0: 256 on a GPU")
    parser.add_argument(
        "--floors",
        type=pathlib.Path,
        help="a file of benchmarks.program_floors; without it, one of this device in results",
    )
    parser.add_argument("--again", action="store_true", help="measure jobs that failed again")
    parser.add_argument("--small", action="store_true", help="try it on the CPU")
    parser.add_argument("--only_print", action="store_true", help="measure nothing")
    return parser.parse_args()


def _measured(
    arguments: argparse.Namespace, floors: Floors | None
) -> tuple[dict[str, Any], Results]:
    """Goes on with the file; returns its machine and all results.

    Raises:
        ValueError: file or floors are of another machine, the file is none of ours, or there is
            no GPU.
        OSError: the file cannot be written.
        RuntimeError: there is nothing to measure with.
    """
    end = time.monotonic() + 60 * arguments.minutes
    header, known = read(arguments.output)
    points.check_writable(arguments.output)
    workers = Workers("benchmarks.on_device_worker", _environment(arguments.small))
    try:
        request = {"kind": "machine", "is_new": not header}
        found = workers.ask("machine", request, _START_SECONDS)
        if "error" in found:
            raise RuntimeError(f"nothing can be measured here: {found['error']}")
        settings = _settings(arguments, found["machine"]["platform"])
        if floors is not None:
            floors.check(found["machine"]["device"])
        if header:
            check_same_machine(arguments.output, header["machine"], found["machine"])
        else:
            header = {"kind": "machine", **found, "command": command()}
            points.append(arguments.output, header)
        if arguments.again:  # a batch that does not fit is never tried again
            known = {k: x for k, x in known.items() if x.get("error", FULL) == FULL}
        measure(
            workers.ask,
            settings,
            known,
            arguments.output,
            sections=arguments.sections,
            seconds=end - time.monotonic(),
            tell=_tell,
        )
    finally:
        workers.close()
    return header, known


def _tell(line: str) -> None:
    print(f"fastscale_jax: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Measures, then prints."""
    arguments = _arguments()
    try:
        arguments.sections = _sections(arguments.sections)
        floors = Floors.read(arguments.floors) if arguments.floors else None
        if arguments.only_print:
            header, known = read(arguments.output)
            if not header:
                raise ValueError(f"{arguments.output} has no results")
        else:
            header, known = _measured(arguments, floors)
        print(report(header, known, floors or Floors.kept(header["machine"]["device"])))
    except ValueError as error:
        _tell(str(error))
        return 2
    except OSError as error:
        _tell(f"{error.filename or arguments.output} cannot be written: {error.strerror}")
        return 2
    except RuntimeError as error:
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        _tell("interrupted; the same command goes on")
        return 1
    return 0


def _sections(names: str) -> list[str]:
    if unknown := [name for name in names.split(",") if name not in SHARES]:
        raise ValueError(f"unknown section {unknown[0]!r}; choose among {', '.join(SHARES)}")
    return [name for name in SHARES if name in names.split(",")]


if __name__ == "__main__":
    sys.exit(main())
