"""The manual's tables are what the code says."""

import pytest

from docs import make_tables


def test_tables_in_the_manual_are_up_to_date():
    page = make_tables.PAGE.read_text()
    assert make_tables.with_tables(page) == page, "run python -m docs.make_tables --write"


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="no <!-- table: named networks --> followed by"):
        make_tables.with_tables("# Architectures\n")
