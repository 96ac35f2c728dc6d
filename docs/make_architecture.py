"""Draws the rooms of the package, lists them, and lists the repository, for docs/architecture.md.

python -m docs.make_architecture          # checks that the page and the picture are current
python -m docs.make_architecture --write  # writes both

The imports are grimp's, the order is pyproject.toml's. The picture holds the table that it was
drawn from, so that both are checked in the same way.
"""

import ast
import itertools
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import grimp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path
from PIL import Image

from docs import maker
from docs.make_tables import FOLDER, with_tables
from fastscale_jax.utils.whole_file import replacing

PACKAGE = "fastscale_jax"
PAGE, PICTURE = FOLDER / "architecture.md", FOLDER / "architecture.png"
TOLERANCE = 0.1  # of a room's files and lines: sizes are there for orientation

# Where a room stands; without an entry, in the middle. Its height follows from its imports.
COLUMNS = {
    **dict.fromkeys(("targets", "cost", "models", "arch"), 0),
    **dict.fromkeys(("display", "distributed"), 2),
    "api": 3,
}
# What stands in the repository.
ENTRIES = {
    f"{PACKAGE}/": "the package: the rooms above",
    ".ci/": "run: the README's two commands in a fresh clone, then all other checks",
    ".github/": "workflows that call .ci/run, and forms for issues and pull requests",
    "benchmarks/": "what is measured or compiled, with results/; on_device.py runs all on a GPU",
    "configs/": "the recipes, one file a family; installed as fastscale_jax.configs",
    "docs/": "the manual, and what makes its tables, figures, notebook and site",
    "launch/": "how to start it: one machine, several processes, Slurm, TPU, Kubernetes",
    "tests/": "mirrors the package; golden/ holds the reference figures",
    "CHANGELOG.md": "what changed, by version",
    "CITATION.cff": "how to cite",
    "CONTRIBUTING.md": "how to set up, what to run, how to add a family, a target, a source",
    "LICENSE": "Apache-2.0",
    "README.md": "the first page; .ci/run reads its two commands",
    "SECURITY.md": "what is trusted, and how to report a fault",
    "mkdocs.yml": "the manual's site",
    "pyproject.toml": "settings of ruff, pyright, import-linter and pytest",
    "requirements.lock": "the versions that the checks ran with",
    "setup.py": "the package, its dependencies and extras",
}
_TREE = re.compile(r"(<!-- tree -->\n```\n).*?(\n```\n<!-- end -->)", re.DOTALL)
_BOX = (0.74, 0.62)  # width and height of a box; columns and levels are 1 apart
_EDGE, _FILL, _BAR, _TEXT, _PALE = "#5d6d7e", "#f4f6f8", "#8fb3d4", "#22303c", "#5d6d7e"


class Room(NamedTuple):
    """A folder of the package, or a module beside the folders."""

    name: str
    purpose: str  # first line of its docstring
    files: int
    lines: int
    imports: tuple[str, ...]  # rooms, in the package's order


def rooms(root: pathlib.Path = FOLDER.parent) -> list[Room]:
    """Returns the rooms of the package, each after all that it imports."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    order = layers["layers"][::-1]
    imports = _imports(layers.get("ignore_imports", ()))
    return [_room(name, root / PACKAGE, [x for x in order if x in imports[name]]) for name in order]


def _imports(ignored: Sequence[str]) -> Mapping[str, set[str]]:
    """The rooms that each room imports from, but for the imports that the contract ignores."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    result: dict[str, set[str]] = {}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            if module == PACKAGE or other == PACKAGE or f"{module} -> {other}" in ignored:
                continue
            room, imported = module.split(".")[1], other.split(".")[1]
            result.setdefault(room, set()).update({imported} - {room})
        result.setdefault(module.split(".")[1] if module != PACKAGE else "", set())
    return result


def _room(name: str, package: pathlib.Path, imports: list[str]) -> Room:
    folder = package / name
    files = [folder.with_suffix(".py")] if not folder.is_dir() else sorted(folder.rglob("*.py"))
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    described = files[0] if not folder.is_dir() else folder / "__init__.py"
    purpose = (ast.get_docstring(ast.parse(texts[described])) or "").partition("\n")[0]
    lines = sum(text.count("\n") for text in texts.values())
    return Room(name, purpose, len(files), lines, tuple(imports))


def table(found: Sequence[Room]) -> str:
    """Returns the rooms as a table; `read` is its inverse."""
    rows = ["| room | what it is for | files | lines | imports from |", "|---|---|--:|--:|---|"]
    for room in found:
        sizes = f"{room.files} | {room.lines:,}"
        rows.append(f"| `{room.name}` | {room.purpose} | {sizes} | {', '.join(room.imports)} |")
    return "\n".join(rows)


def tree() -> str:
    """Returns the folders and files of the repository, a line each."""
    return "\n".join(f"{name:<18} {text}" for name, text in ENTRIES.items())


def tracked() -> set[str]:
    """Returns the files and folders at the top of the repository that git knows of."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=FOLDER.parent, capture_output=True, text=True, check=True
    )
    parts = (line.partition("/") for line in listed.stdout.splitlines())
    names = {f"{name}{slash}" for name, slash, _ in parts}
    return {name for name in names if not name.startswith(".") or name in ENTRIES}


def read(text: str) -> list[Room]:
    """Returns the rooms of the table in a text."""
    found = []
    for line in text.splitlines():
        row = re.fullmatch(r"\| `(\w+)` \| (.*) \| (\d+) \| ([\d,]+) \| (.*) \|", line)
        if row:
            name, purpose, files, lines, imports = row.groups()
            others = tuple(filter(None, imports.strip().split(", ")))
            found.append(Room(name, purpose, int(files), int(lines.replace(",", "")), others))
    return found


def is_current(written: Sequence[Room], now: Sequence[Room]) -> bool:
    """Returns whether rooms are as they were written down, their sizes within `TOLERANCE`."""
    words, sizes = (
        [[select(room) for room in some] for some in (written, now)]
        for select in (lambda x: (x.name, x.purpose, x.imports), lambda x: (x.files, x.lines))
    )
    pairs = zip(itertools.chain(*sizes[0]), itertools.chain(*sizes[1]), strict=False)
    return words[0] == words[1] and all(abs(a - b) <= max(1, TOLERANCE * b) for a, b in pairs)


def stale(now: Sequence[Room]) -> list[pathlib.Path]:
    """Returns which of page and picture are not of these rooms."""
    texts = {PAGE: PAGE.read_text(encoding="utf-8")}
    with Image.open(PICTURE) as picture:
        texts[PICTURE] = picture.info.get("Description", "")
    old = [path for path, text in texts.items() if not is_current(read(text), now)]
    has_tree = with_tree(texts[PAGE]) == texts[PAGE]
    return old if has_tree or PAGE in old else [PAGE, *old]


def with_tree(page: str) -> str:
    """Returns the page with the list of the repository made anew.

    Raises:
        ValueError: something in the repository is not described in `ENTRIES`, or is gone.
    """
    unknown = tracked() ^ ENTRIES.keys()
    if unknown:
        raise ValueError(f"ENTRIES and the repository differ: {', '.join(sorted(unknown))}")
    return _TREE.sub(lambda match: f"{match[1]}{tree()}{match[2]}", page)


def levels(found: Sequence[Room]) -> dict[str, int]:
    """Returns how high each room stands: as close below those that import it as can be."""
    depth = {room.name: 0 for room in found}
    for room in reversed(found):
        for other in room.imports:
            depth[other] = max(depth[other], depth[room.name] + 1)
    lowest = max(depth.values())
    return {name: lowest - below for name, below in depth.items()}


def arrows(found: Sequence[Room]) -> Iterator[tuple[str, str]]:
    """Yields the imports that no longer way of imports leads along as well."""
    reached: dict[str, set[str]] = {}
    for room in found:
        reached[room.name] = {*room.imports}.union(*(reached[other] for other in room.imports))
    for room in found:
        for other in room.imports:
            if not any(other in reached[between] for between in room.imports):
                yield room.name, other


def figure(found: Sequence[Room]) -> Figure:
    """Returns the picture: a box a room, above all that it imports."""
    places = {name: (COLUMNS.get(name, 1), level) for name, level in levels(found).items()}
    if len({*places.values()}) < len(places):
        raise ValueError(f"two rooms stand in one place; give them other COLUMNS: {places}")
    tall, wide = 1 + max(y for _, y in places.values()), 1 + max(x for x, _ in places.values())
    result = Figure(figsize=(2.9 * wide, 0.82 * tall), dpi=110)
    axes = result.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.55, wide - 0.4), ylim=(-0.5, tall - 0.5))
    axes.axis("off")
    for source, target in arrows(found):
        axes.add_patch(
            FancyArrowPatch(
                path=_way(places, source, target),
                arrowstyle="-|>",
                mutation_scale=9,
                color=_EDGE,
                linewidth=1.0,
                shrinkA=0,
                shrinkB=0,
            )
        )
    most = max(room.lines for room in found)
    for number, room in enumerate(found, start=1):
        _draw(axes, room, number, places[room.name], room.lines / most)
    return result


def _draw(axes: Axes, room: Room, number: int, place: tuple[float, float], share: float) -> None:
    (x, y), (width, height) = place, _BOX
    left, bottom = x - width / 2, y - height / 2
    box = FancyBboxPatch(
        (left, bottom),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.05",
        mutation_aspect=3,  # an inch is three times as much of a level as of a column
        facecolor=_FILL,
        edgecolor=_EDGE,
        linewidth=1,
    )
    axes.add_patch(box)
    inner = width - 0.08
    axes.add_patch(Rectangle((left + 0.04, bottom + 0.06), inner * share, 0.05, color=_BAR, lw=0))
    axes.text(left + 0.04, y + 0.13, room.name, color=_TEXT, size=11, weight="bold", va="center")
    axes.text(left + width - 0.04, y + 0.13, number, color=_PALE, size=8, ha="right", va="center")
    files = f"{room.files} file{'s' * (room.files > 1)}"
    sizes = f"{files}, {room.lines:,} lines"
    axes.text(left + 0.04, y - 0.06, sizes, color=_PALE, size=8, va="center")


def _way(places: Mapping[str, tuple[float, float]], source: str, target: str) -> Path:
    """A way from box to box that crosses none of the others: at once, or past the side of some."""
    (x, y), (to_x, to_y) = places[source], places[target]
    width, height = _BOX
    bottom, top, beside = y - height / 2, to_y + height / 2, x + 0.5
    # between two levels; lines from different columns must not meet there
    below, above = (level + 0.08 * (1 - x) for level in (y - 0.5, to_y + 0.5))
    side = to_x + width / 2 if beside > to_x else to_x - width / 2
    ways = [
        [(x, bottom), (x, above), (to_x, above), (to_x, top)],
        [(x, bottom), (x, below), (beside, below), (beside, to_y), (side, to_y)],
    ]
    others = [place for name, place in places.items() if name not in (source, target)]
    for way in ways:
        if not any(_crosses(a, b, box) for a, b in itertools.pairwise(way) for box in others):
            return Path(way)
    raise ValueError(f"no way from {source} to {target}; give rooms other COLUMNS")


def _crosses(a: tuple[float, float], b: tuple[float, float], box: tuple[float, float]) -> bool:
    """Whether a horizontal or vertical line meets a box."""
    reach = [size / 2 for size in _BOX]
    return all(
        min(a[i], b[i]) < box[i] + reach[i] and max(a[i], b[i]) > box[i] - reach[i] for i in (0, 1)
    )


def write_of(now: Sequence[Room]) -> None:
    """Writes the table and the list of the repository into the page, and the picture."""
    text = table(now)
    page = with_tables(PAGE.read_text(encoding="utf-8"), {"rooms": lambda: text})
    PAGE.write_text(with_tree(page), encoding="utf-8")
    with replacing(PICTURE) as partial:
        metadata = {"Description": text, "Software": None}
        figure(now).savefig(partial, format="png", metadata=metadata)


def differing() -> list[str]:
    """Returns which of page and picture are not of the rooms as they are."""
    return [path.name for path in stale(rooms())]


def write() -> None:
    """Writes both, of the rooms as they are."""
    write_of(rooms())


MAKER = maker.Maker(differing, write)

if __name__ == "__main__":
    sys.exit(maker.run(__doc__, MAKER, "docs.make_architecture"))
