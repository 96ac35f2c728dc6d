"""Compiles a step as `targets.child` does, but sums over devices in the form that is asked for.

benchmarks/reductions.py starts it. `FASTSCALE_REDUCTION` has the form, and XLA's options, as JSON.
"""

import json
import os

from fastscale_jax.distributed import reductions
from fastscale_jax.targets import child
from fastscale_jax.utils import compiling


def main() -> None:
    """Compiles the program on standard input."""
    asked = json.loads(os.environ["FASTSCALE_REDUCTION"])
    reductions.FORMS.update(gpu=asked["form"], tpu=asked["form"])
    reductions.PART_BYTES = asked["part_bytes"] or reductions.PART_BYTES
    hasty = compiling.hasty
    compiling.hasty = lambda platform=None: {**(hasty(platform) or {}), **asked["options"]}
    child.main()


if __name__ == "__main__":
    main()
