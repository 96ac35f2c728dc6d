"""`--start_within`: no test starts after the limit."""

import re
import subprocess
import sys

import pytest

from tests.commands import REPOSITORY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "outcome"), [((), "passed"), (("--start_within=0",), "skipped")]
)
def test_tests_are_skipped_only_after_the_limit(tmp_path, options, outcome):
    """Runs another test module in a subprocess."""
    cache = ("-o", f"cache_dir={tmp_path}")
    command = (sys.executable, "-m", "pytest", "-q", *cache, *options)
    done = subprocess.run(
        [*command, "tests/arch/test_spelling.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(rf"\d+ {outcome} in .*", done.stdout.splitlines()[-1])
