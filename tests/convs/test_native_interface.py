"""The rest of the repository uses the native convolutions by their interface, and does without."""

import ast
import pathlib
import subprocess
import sys

import numpy as np

from fastscale_jax.convs import native
from fastscale_jax.convs.conv_shape import ConvShape
from tests.commands import REPOSITORY
from tests.convs import assert_close, operands
from tests.torch_convs import by_torch

INTERFACE = native.__name__
FOLDER = pathlib.Path(native.__file__).parent
# whose subject is what lies behind the interface
BEHIND = {REPOSITORY / "tests/convs/test_native.py", pathlib.Path(__file__)}


def outsiders(*folders):
    """The syntax tree of each file that is to know the interface alone, by its path."""
    for folder in folders:
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            if not file.is_relative_to(FOLDER) and file not in BEHIND:
                yield file, ast.parse(file.read_text(encoding="utf-8"))


def imported(tree):
    """The dotted names of all that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_native(tree):
    """What a file uses of `native`: imported by its name, or as an attribute."""
    names = set(imported(tree))
    yield from (x.removeprefix(f"{INTERFACE}.") for x in names if x.startswith(f"{INTERFACE}."))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "native":
            yield from [node.attr] * (INTERFACE in names)


def test_others_use_no_more_than_the_interface():
    trees = outsiders("fastscale_jax", "benchmarks", "configs", "docs", "tests")
    used = {str(file): set(of_native(tree)) for file, tree in trees}
    beyond = {file: names - {*native.__all__} for file, names in used.items()}
    assert {file: names for file, names in beyond.items() if names} == {}
    assert {"serves", "why_not", "activated"} <= set().union(*used.values())


def test_llvm_is_used_here_and_to_tell_processors_apart():
    users = [
        file.name
        for file, tree in outsiders("fastscale_jax")
        if any(name.partition(".")[0] == "llvmlite" for name in imported(tree))
    ]
    assert users == ["compiling.py"]


WITHOUT = """
import sys

sys.modules["llvmlite"] = None

import jax
import numpy as np
from fastscale_jax.convs.activated_conv import activated_conv
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.convs.grouped_conv import grouped_conv

given = np.load(sys.argv[1])
results = {}
for i in range(3):
    x, kernel, dy = (given[f"{name}{i}"].astype(np.float32) for name in ("x", "kernel", "dy"))
    groups, stride = map(int, given[f"options{i}"])

    def conv(x, kernel):
        return grouped_conv(x, kernel, groups=groups, stride=stride)

    def both(x, kernel, dy):
        y, pull_back = jax.vjp(conv, x, kernel)
        return y, *pull_back(dy)

    program = jax.jit(both).lower(x, kernel, dy)
    assert "custom_call @fastscale" not in program.as_text()
    ones, zeros = np.ones(kernel.shape[3], np.float32), np.zeros(kernel.shape[3], np.float32)
    fused = activated_conv(x, kernel, ones, zeros, groups=groups, stride=stride)
    for name, result in zip("abcd", (*program.compile()(x, kernel, dy), fused)):
        results[f"{name}{i}"] = result
np.savez(sys.argv[2], **results)
"""


def test_without_llvmlite_the_numbers_are_right_and_one_line_says_why(tmp_path):
    shapes = [
        ConvShape(2, 9, 7, 8, 8, 8, 3, 2),  # depthwise
        ConvShape(2, 6, 5, 12, 12, 3, 3, 1),
        ConvShape(2, 7, 7, 5, 6, 1, 3, 1),  # dense
    ]
    given = {}
    for i, shape in enumerate(shapes):
        named = zip(("x", "kernel", "dy"), operands(shape), strict=True)
        given |= {f"{name}{i}": array for name, array in named}
        given[f"options{i}"] = np.array([shape.groups, shape.stride])
    np.savez(tmp_path / "given.npz", **given)
    files = [str(tmp_path / "given.npz"), str(tmp_path / "results.npz")]
    command = [sys.executable, "-W", "error", "-c", WITHOUT, *files]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "conv" in line] == [
        "fastscale_jax: convolutions use XLA's own operations on this machine, which are slower: "
        "llvmlite is not installed"
    ]
    results = np.load(tmp_path / "results.npz")
    for i, shape in enumerate(shapes):
        y, dx, dk = by_torch(*operands(shape), shape)
        assert_close([results[f"{name}{i}"] for name in "abcd"], [y, dx, dk, y], 1e-5)
