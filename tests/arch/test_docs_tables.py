"""The manual's tables are what the code says."""

import pytest

from docs import make_tables


@pytest.mark.parametrize("name", make_tables.TABLES)
def test_tables_in_the_manual_are_up_to_date(name):
    page, tables = (make_tables.FOLDER / name).read_text(), make_tables.TABLES[name]
    assert make_tables.with_tables(page, tables) == page, "run python -m docs.make_tables --write"


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="no <!-- table: named networks --> followed by"):
        make_tables.with_tables("# Architectures\n", make_tables.TABLES["architectures.md"])
