"""Writes what the report's explorer has of compiled programs, or checks it.

python -m docs.make_compiled
python -m docs.make_compiled --write
"""

import argparse
import json
import sys

from docs.accelerator_records import FILES, TARGETS, records
from fastscale_jax.report.compiled import PACKAGED, kept


def text() -> str:
    """Returns the packaged file's text, from benchmarks/results/program_*.jsonl."""
    found = [record for name in FILES for target in TARGETS for record in records(name, target)]
    return "".join(json.dumps(line) + "\n" for line in kept(found))


def main() -> None:
    """Writes the file, or ends with status 1 where it is not what the results say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write it")
    if parser.parse_args().write:
        PACKAGED.write_text(text(), encoding="utf-8")
    elif PACKAGED.read_text(encoding="utf-8") != text():
        sys.exit(f"{PACKAGED} is not what the results say; python -m docs.make_compiled --write")


if __name__ == "__main__":
    main()
