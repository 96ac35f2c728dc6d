"""Times a run from SIGTERM to its end, with the signal at random moments.

python -m benchmarks.preemption --output=benchmarks/results/preemption.json
"""

import argparse
import json
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance

PYTHON = (sys.executable, "-u", "-m", "fastscale_jax.main")
PREEMPTED = 75


def measure(moments: int, config: str, latest: float) -> list[dict[str, Any]]:
    """Returns for each moment (seconds after the start) the seconds to the end and the status."""
    draw, found = random.Random(0), []
    with tempfile.TemporaryDirectory() as folder:
        command = (*PYTHON, f"--config={config}", f"--workdir={folder}/run")
        subprocess.run((*command, "--config.train.steps=1"), check=True, capture_output=True)
        for index in range(moments):
            moment = draw.uniform(0, latest)
            one = (*command[:-1], f"--workdir={folder}/{index}")
            with subprocess.Popen(one, stderr=subprocess.PIPE, text=True) as process:
                time.sleep(moment)
                since = time.monotonic()
                process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=300)
                end_seconds = time.monotonic() - since
            last = errors.strip().splitlines()[-1:]
            found.append(
                {
                    "moment_s": round(moment, 2),
                    "seconds": round(end_seconds, 2),
                    "status": process.returncode,
                    "said": " ".join(last).replace(folder, "…"),
                }
            )
            print(found[-1], file=sys.stderr)
    return found


def main() -> None:
    """Measures, prints a summary, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=12)
    parser.add_argument("--config", default="configs/digits.py")
    parser.add_argument("--latest", type=float, default=60.0, help="seconds after the start")
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file for the figures")
    given = parser.parse_args()
    ends = measure(given.moments, given.config, given.latest)
    seconds = [end["seconds"] for end in ends]
    summary = {
        **provenance(describe()),
        "config": given.config,
        "median_s": statistics.median(seconds),
        "most_s": max(seconds),
        "ends": ends,
    }
    print(json.dumps({key: summary[key] for key in ("median_s", "most_s")}))
    if given.output:
        given.output.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
