"""Makes the file that the report's explorer has of compiled programs.

python -m docs.make_compiled          # checks it
python -m docs.make_compiled --write  # writes it
"""

import json
import sys

from docs import maker
from docs.accelerator_records import FILES, TARGETS, records
from fastscale_jax.report.compiled import PACKAGED, kept


def text() -> str:
    """Returns the packaged file's text, from benchmarks/results/program_*.jsonl."""
    found = [record for name in FILES for target in TARGETS for record in records(name, target)]
    return "".join(json.dumps(line) + "\n" for line in kept(found))


def differing() -> list[str]:
    """Returns the file, if it is not what the results say."""
    return [] if PACKAGED.read_text(encoding="utf-8") == text() else [PACKAGED.name]


def write() -> None:
    """Writes the file."""
    PACKAGED.write_text(text(), encoding="utf-8")


MAKER = maker.Maker(differing, write)

if __name__ == "__main__":
    sys.exit(maker.run(__doc__, MAKER, "docs.make_compiled"))
