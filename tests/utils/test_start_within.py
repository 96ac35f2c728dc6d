"""The tests' own option for who has only so much time."""

import re
import subprocess
import sys

import pytest

from tests.commands import REPOSITORY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "outcome"), [((), "passed"), (("--start_within=0",), "skipped")]
)
def test_no_test_starts_later(options, outcome):
    """Some tests of another module, in a process of their own."""
    command = (sys.executable, "-m", "pytest", "-q", *options)
    done = subprocess.run(
        [*command, "tests/arch/test_spelling.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(rf"\d+ {outcome} in .*", done.stdout.splitlines()[-1])
