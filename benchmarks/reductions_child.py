"""Compiles a step like `targets.child`, with a chosen form of the sums over devices.

benchmarks/reductions.py starts it. `FASTSCALE_REDUCTION` has the form and XLA's options, as JSON.
"""

import json
import os

from fastscale_jax.distributed import reductions
from fastscale_jax.targets import child
from fastscale_jax.utils import compiling


def main() -> None:
    """Compiles the program on standard input."""
    options = json.loads(os.environ["FASTSCALE_REDUCTION"])
    reductions.FORMS.update(gpu=options["form"], tpu=options["form"])
    reductions.PART_BYTES = options["part_bytes"] or reductions.PART_BYTES
    hasty = compiling.hasty
    compiling.hasty = lambda platform=None: {**(hasty(platform) or {}), **options["options"]}
    child.main()


if __name__ == "__main__":
    main()
