"""Which test modules a change touches: `python -m tests.touched --since=COMMIT` prints them.

A test module is touched if it, or a file that it depends on, differs between the commit and the
working tree. Comments are no difference, nor are docstrings that no program reads. A module depends
on what it imports, on the modules and files that its strings name (commands are run by name, data
are opened by name), and on what these depend on. Of the modules that a command finds by name, such
as its subcommands, a test depends on those that its own strings ask for. Dependencies and settings
touch every test, and so does a file that no module names and that is no document.

They are ordered by distance: the number of imports or names from the test module to the nearest
changed file. Modules at equal distance are ordered by a hash of HEAD, so that another commit leaves
out other tests when time runs out.
"""

import argparse
import ast
import collections
import functools
import hashlib
import math
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

REPOSITORY = pathlib.Path(__file__).parents[1]
PACKAGES = ("fastscale_jax", "tests", "benchmarks", "configs", "docs")
EVERYTHING = {"setup.py", "requirements.lock", "pyproject.toml"}
DOCUMENTS = (".md", ".png", ".jpg", ".css", ".cff", ".yml")
_NAME = re.compile(r"[\w./-]*\.\w+|\w[\w/-]+")
_WORDS = re.compile(r"\w+"), re.compile(r"[\w.]+")
_TEST = re.compile(r"tests/(.*/)?test_\w+\.py")
_START = re.compile(r"([\w.]+\.)$")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

Graph = Mapping[str, frozenset[str]]


class Dependencies(NamedTuple):
    """What the Python files of a repository depend on.

    Attributes:
        graph: for each file, the files that it imports or names.
        by_name: for each file, the modules that it finds by name, each with the words that ask for
            it.
        words: of the strings of each file below tests/ and benchmarks/, and of each page.
    """

    graph: Graph
    by_name: Mapping[str, Graph]
    words: Graph


def dependencies(files: Iterable[str], root: pathlib.Path = REPOSITORY) -> Dependencies:
    """Returns what each Python file depends on.

    Args:
        files: paths from the root, of all files below it.
        root: of the repository.
    """
    files = frozenset(files)
    modules = {_module(file): file for file in files if file.endswith(".py")}
    by_name: dict[str, set[str]] = {}
    for file in files - {f for f in files if _TEST.fullmatch(f)}:  # a list of tests needs none
        for end in _ends(file):
            by_name.setdefault(end, set()).add(file)
    known = Dependencies({}, {}, {})
    for file in modules.values():
        source = _Source((root / file).read_text(encoding="utf-8"))
        needed = {f for name in source.imports(file) for f in _files_of(name, modules)}
        if any(
            "walk_packages(" in text for text in source.strings
        ):  # it imports all of the package
            needed |= {f for f in modules.values() if f.startswith(f"{PACKAGES[0]}/")}
        if not file.endswith("__init__.py"):  # its modules are asked for as attributes
            known.by_name[file] = source.named_modules(modules)
        if file.startswith(("tests/", "benchmarks/")):
            known.words[file] = frozenset(
                word for text in source.strings for p in _WORDS for word in p.findall(text)
            )
        for text in source.strings:
            for name in _NAME.findall(text):
                needed |= by_name.get(name, set())
                needed |= set(_files_of(name, modules)) if "." in name else set()
        needed |= {f for f in _conftests(file) if f in files}
        known.graph[file] = frozenset(needed - {file})
    for file in (f for f in files if f.endswith(".md")):  # tests run what pages show
        text = (root / file).read_text(encoding="utf-8")
        known.words[file] = frozenset(word for p in _WORDS for word in p.findall(text))
        shown = {f"{package}/api.py" for package in PACKAGES if f"import {package} as" in text}
        known.graph[file] = frozenset(shown & files)
    return known


def reached(file: str, known: Dependencies) -> Mapping[str, int]:
    """Returns the files that a test module depends on, each with the number of steps to it."""
    # the test's words, and those of what it shares with others, but not with all others
    own = _followed(file, known, frozenset(), without=frozenset({"tests/conftest.py"}))
    words = frozenset().union(*(known.words.get(f, frozenset()) for f in own))
    return _followed(file, known, words)


def touched(
    tests: Mapping[str, Mapping[str, int]], changed: frozenset[str], known: Dependencies, salt: str
) -> list[str]:
    """Returns those of the test modules that depend on a changed file, the nearest first.

    Args:
        tests: for each test module, what `reached` returns.
        changed: paths of files.
        known: the repository's dependencies.
        salt: decides the order of modules at equal distance.
    """
    named = frozenset(known.graph).union(*known.graph.values())
    unknown = {f for f in changed - named if not f.endswith(DOCUMENTS)} | changed & EVERYTHING
    distances = {
        test: min((steps for file, steps in files.items() if file in changed), default=math.inf)
        for test, files in tests.items()
    }

    def order(test: str) -> tuple[float, str]:
        return distances[test], hashlib.sha256(f"{salt}{test}".encode()).hexdigest()

    return sorted((t for t in tests if unknown or distances[t] < math.inf), key=order)


def changed_since(commit: str) -> frozenset[str]:
    """Returns the files that differ between a commit and the working tree, by what they do."""
    names = _git("diff", "--name-only", "--no-renames", commit).splitlines()
    return frozenset(name for name in names if _differs(name, commit))


def _differs(name: str, commit: str) -> bool:
    path = REPOSITORY / name
    if not name.endswith(".py") or not path.exists():
        return True
    try:
        before = _git("show", f"{commit}:{name}")
    except subprocess.CalledProcessError:  # a new file
        return True
    after = path.read_text(encoding="utf-8")
    if name.startswith("fastscale_jax/cli/") or "__doc__" in after:  # help is made of docstrings
        return ast.dump(ast.parse(before)) != ast.dump(ast.parse(after))
    return ast.dump(_code(before)) != ast.dump(_code(after))


def _code(source: str) -> ast.Module:
    """Returns a module without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _followed(
    file: str, known: Dependencies, words: frozenset[str], without: frozenset[str] = frozenset()
) -> dict[str, int]:
    steps, waiting = {file: 0}, collections.deque([file])
    while waiting:
        file = waiting.popleft()
        asked = {f for f, names in known.by_name.get(file, {}).items() if names & words}
        for other in (known.graph.get(file, frozenset()) | asked) - steps.keys() - without:
            steps[other] = steps[file] + 1
            waiting.append(other)
    return steps


class _Source:
    """A module's syntax tree without docstrings, and its strings."""

    def __init__(self, text: str):
        self.nodes = [*ast.walk(_code(text))]
        self.strings = [*_strings(self.nodes)]

    def imports(self, file: str) -> Iterator[str]:
        """Yields the names of what is imported."""
        packages = {}  # by the name that they have in this file
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
                packages |= {a.asname or a.name: a.name for a in node.names if a.name in PACKAGES}
            elif isinstance(node, ast.ImportFrom):
                if node.level:
                    raise ValueError(
                        f"{file} has a relative import, which this map does not follow"
                    )
                if node.module not in PACKAGES:  # these import nothing until they are asked for it
                    yield node.module or ""
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for node in self.nodes:
            match node:
                case ast.Attribute(value=ast.Name(id=name)) if name in packages:
                    yield f"{packages[name]}.{node.attr}"

    def named_modules(self, modules: Mapping[str, str]) -> Graph:
        """Returns the modules that a file may find by name, with the words that ask for each.

        These are modules that `_starts` may find, and those of a folder that a string names. The
        words are the rest of its name, and the keys of dictionaries whose values name it, as in
        `{"train": Command("train_command:train")}`.
        """
        starts = [*self._starts(), *(f"{text}." for text in self.strings if text in PACKAGES[1:])]
        known = {}
        for start in starts:
            for module, file in modules.items():
                if module.startswith(start):
                    rest = module.removeprefix(start).removesuffix(".__main__")
                    asking = {rest, *self._keys.get(rest, ())}
                    known[file] = known.get(file, frozenset()) | asking
        return known

    def _starts(self) -> Iterator[str]:
        """Yields `package.folder.` of each f"package.folder.{name}": a module known by name."""
        for node in self.nodes:
            if isinstance(node, ast.JoinedStr):
                for part in node.values[:-1]:
                    text = str(part.value) if isinstance(part, ast.Constant) else ""
                    start = _START.search(text)
                    if start and start[1].split(".")[0] in PACKAGES:
                        yield start[1]

    @functools.cached_property
    def _keys(self) -> Mapping[str, set[str]]:
        """Maps each name in a dictionary's values to its keys."""
        keys: dict[str, set[str]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant):
                        for text in _strings(ast.walk(value)):
                            keys.setdefault(text.split(":")[0], set()).add(str(key.value))
        return keys


def _strings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _files_of(name: str, modules: Mapping[str, str]) -> Iterable[str]:
    return (modules[name],) if name in modules else ()


def _ends(file: str) -> Iterator[str]:
    """Yields the names by which a file may be opened: its path, the ends of it, and its folder."""
    parts = pathlib.PurePath(file).parts
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        if not file.endswith(".py") or start < len(parts) - 1 or len(parts) == 1:
            yield end
        if not file.endswith(".py") and start < len(parts) - 1:
            yield "/".join(parts[start:-1])  # opened by a name that is put together


def _conftests(file: str) -> Iterator[str]:
    if file.startswith("tests/"):
        yield from (str(p / "conftest.py") for p in pathlib.PurePath(file).parents)


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@functools.cache
def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout


def main() -> int:
    """Prints the touched test modules, a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--since", required=True, help="a commit")
    parser.add_argument("--below", default="tests", help="the folder of the test modules")
    arguments = parser.parse_args()
    files = _git("ls-files").splitlines()
    tests = [f for f in files if _TEST.fullmatch(f) and f.startswith(f"{arguments.below}/")]
    known = dependencies(files)
    touching = {test: reached(test, known) for test in tests}
    salt = _git("rev-parse", "HEAD")
    print(*touched(touching, changed_since(arguments.since), known, salt), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
