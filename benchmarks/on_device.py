"""All measurements on a GPU, within a few minutes.

python -m benchmarks.on_device --output=benchmarks/results/on_device_<device>.jsonl

There are four sections, within `--minutes` in total: training steps of six networks against
PyTorch's, eager and compiled (`train`); steps of the curves' points (`curves`); convs in every form
(`convs`); and the digits command (`digits`). Each section has a share of the time, with the most
important jobs first. Remaining time is used for jobs that were left out. Results are added to the
file at once; the same command continues after an interruption. At the end a table lists possible
improvements.

`--small` is a test on a CPU, about two minutes; its numbers mean nothing. `--only_print` prints a
file's table on any machine. The table compares each step with the floor of its compiled program,
from `benchmarks.program_floors`: of this device in `benchmarks/results`, or `--floors`.
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
# by kind of job: expected seconds until one is measured, and the timeout in seconds
_SECONDS = {
    "jax": (45, 240),
    "torch": (10, 90),
    "torch-compile": (50, 240),
    "conv": (3, 45),
    "digits": (60, 180),
}
_START_SECONDS = 120  # timeout of the first request, which describes the device
_FAILURES = 2  # failures of a framework, without a success, after which it is left out


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
    """Measures the missing jobs within the time.

    Args:
        ask: as `Workers.ask`.
        settings: what to measure.
        known: results by job; new ones are added.
        output: file that new results are appended to, one per line.
        sections: some of `SHARES`.
        seconds: total time.
        tell: called with a line on each finished or omitted job.

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
                return  # the time was over; the job itself may be fine
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
                f"{section}: {missing} of {len(jobs)} not measured, because the time is over or "
                "the framework fails; run the same command again to continue"
            )


def _next(jobs: Sequence[Job], known: Results, left: float) -> Job | None:
    """The first missing job that fits into the remaining time."""

    def is_due(job: Job) -> bool:
        return job not in known and not _fails(job, known) and _expected(job, known) <= left

    return next(filter(is_due, jobs), None)


def _fails(job: Job, known: Results) -> bool:
    """Whether all jobs of a kind fail: `torch.compile` without a compiler, for example."""
    errors = [x.get("error") for other, x in known.items() if _framework(other) == _framework(job)]
    return len(errors) >= _FAILURES and all(error not in (None, FULL) for error in errors)


def _framework(job: Job) -> str:
    """The framework of a job, which names its worker."""
    return {ConvPass: "conv", Digits: "digits"}.get(type(job)) or getattr(job, "framework", "")


def _limit(job: Job) -> float:
    return _SECONDS[_framework(job)][1]


def _expected(job: Job, known: Results) -> float:
    """The expected seconds of a job, from others of its kind."""
    name = _framework(job)
    done = (record for other, record in known.items() if _framework(other) == name)
    times = [record["seconds"] for record in done if "error" not in record]
    return statistics.median(times) if times else _SECONDS[name][0]


def _checked(answer: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """An answer without its machine, which is stored once per file."""
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
        raise ValueError("JAX finds no GPU here; use --small for a test on the CPU")
    of = Settings.small if arguments.small else Settings.full
    settings = of(platform, arguments.batch)
    return settings.without_torch() if importlib.util.find_spec("torch") is None else settings


def _environment(is_small: bool) -> dict[str, str]:
    """Additional environment variables of the workers."""
    # no compilation cache, because compile times are among the results
    environment = {"JAX_COMPILATION_CACHE_DIR": ""}
    if is_small:
        quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu"}
        return {**environment, **quick, "CUDA_VISIBLE_DEVICES": ""}
    if "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.9"  # PyTorch may use all memory
    return environment


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.on_device", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a JSON-lines file")
    parser.add_argument("--minutes", type=float, default=12.0, help="total time of measurements")
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
    """Continues the file; returns its machine and all results.

    Raises:
        ValueError: file or floors are of another machine, the file is no results file, or there
            is no GPU.
        OSError: the file cannot be written.
        RuntimeError: no worker can be started.
    """
    end = time.monotonic() + 60 * arguments.minutes
    header, known = read(arguments.output)
    points.check_writable(arguments.output)
    workers = Workers("benchmarks.on_device_worker", _environment(arguments.small))
    try:
        request = {"kind": "machine", "is_new": not header}
        answer = workers.ask("machine", request, _START_SECONDS)
        if "error" in answer:
            raise RuntimeError(f"nothing can be measured here: {answer['error']}")
        settings = _settings(arguments, answer["machine"]["platform"])
        if floors is not None:
            floors.check(answer["machine"]["device"])
        if header:
            check_same_machine(arguments.output, header["machine"], answer["machine"])
        else:
            header = {"kind": "machine", **answer, "command": command()}
            points.append(arguments.output, header)
        if arguments.again:  # except jobs that ran out of memory
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
        _tell("interrupted; run the same command again to continue")
        return 1
    return 0


def _sections(names: str) -> list[str]:
    if unknown := [name for name in names.split(",") if name not in SHARES]:
        raise ValueError(f"unknown section {unknown[0]!r}; choose among {', '.join(SHARES)}")
    return [name for name in SHARES if name in names.split(",")]


if __name__ == "__main__":
    sys.exit(main())
