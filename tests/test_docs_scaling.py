"""What docs/scaling.md says by hand of the strategies."""

import re
from fractions import Fraction

import pytest

from fastscale_jax import arch
from fastscale_jax.arch.strategies import shares
from fastscale_jax.report.closed_forms import ALPHA
from tests.commands import REPOSITORY

PAGE = (REPOSITORY / "docs/scaling.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (`.+?`) \| (\S+) \| (\S+) \| (\S+) \| .* \|$", re.MULTILINE)
# letters of the table, and a strategy for each row that has some
LETTERS = {f"(1-{ALPHA})/2": 0.3, ALPHA: 0.4, "x/n": 1 / 8, "y/n": 3 / 8, "z/n": 4 / 8}
EXAMPLES = {f"a<{ALPHA}>": "a0.4", "d<x>w<y>r<z>": "d1w3r4"}


def table():
    """Each strategy of the page's first table with the shares that it prints."""
    section = PAGE.partition("\n## Strategies\n")[2].partition("\n### ")[0]
    for names, *printed in ROW.findall(section):
        for name in re.findall(r"`([^`]+)`", names):
            yield EXAMPLES.get(name, name), printed


def test_the_table_has_every_strategy_with_a_name():
    found = {name for name, _ in table()}
    assert {*arch.STRATEGIES} <= found
    assert {*EXAMPLES.values()} <= found


@pytest.mark.parametrize(("name", "printed"), [*table()], ids=str)
def test_the_shares_of_the_page_are_those_of_the_code(name, printed):
    numbers = [LETTERS[x] if x in LETTERS else float(Fraction(x)) for x in printed]
    if re.fullmatch("[dwr]{1,2}", name):  # what is printed is the share of each letter
        numbers = [x if letter in name else 0 for letter, x in zip("dwr", numbers, strict=True)]
    assert shares(name) == pytest.approx(numbers, abs=5e-4)
