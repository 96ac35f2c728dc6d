"""The page about the package's rooms says what is so."""

import ast
import re

import pytest

from docs import make_architecture
from docs.make_architecture import PAGE, Room, arrows, is_current, levels, read, table
from docs.make_tables import FOLDER

ROOT = FOLDER.parent
TEXT = PAGE.read_text(encoding="utf-8")
WALKS = dict(re.findall(r"<!-- walk: (.*?) -->\n(.*?)<!-- end -->", TEXT, re.DOTALL))
STOPS = sorted({*re.findall(r"`([\w/]+\.py):([\w.]+)`", TEXT)})


@pytest.fixture(scope="module")
def rooms():
    return make_architecture.rooms()


def test_a_table_is_read_as_it_was_written(rooms):
    assert read(table(rooms)) == rooms


ROOM = Room("arch", "What a network is.", 10, 2000, ("utils",))


@pytest.mark.parametrize(
    ("changed", "current"),
    [
        ({"lines": 2100}, True),
        ({"lines": 2500}, False),
        ({"files": 11}, True),
        ({"files": 13}, False),
        ({"purpose": "Another one."}, False),
        ({"imports": ()}, False),
        ({"name": "arches"}, False),
    ],
    ids=str,
)
def test_sizes_may_differ_a_little_and_nothing_else_may(changed, current):
    assert is_current([ROOM], [ROOM._replace(**changed)]) is current


def test_a_room_that_is_missing_or_new_is_not_current():
    assert not is_current([ROOM], [])
    assert not is_current([], [ROOM])


def test_rooms_stand_above_what_they_import_and_every_import_is_a_way_of_arrows(rooms):
    heights, ways = levels(rooms), {room.name: {room.name} for room in rooms}
    drawn = list(arrows(rooms))
    for room in rooms:  # each comes after all that it imports
        for source, target in drawn:
            if source == room.name:
                ways[source] |= ways[target]
    for room in rooms:
        assert all(heights[room.name] > heights[other] for other in room.imports)
        assert {*room.imports} <= ways[room.name]


def test_the_same_rooms_are_the_same_picture(rooms, tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        make_architecture.figure(rooms).savefig(path, metadata={"Software": None})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_both_walks_are_there():
    assert list(WALKS) == ["variant to logits", "image to metrics"]
    assert all(len(re.findall(r"^\d+\. ", walk, re.M)) > 8 for walk in WALKS.values())


@pytest.mark.parametrize(("path", "name"), STOPS, ids=":".join)
def test_every_stop_of_a_walk_exists(path, name):
    folder = ROOT if path.startswith("configs/") else ROOT / "fastscale_jax"
    body = ast.parse((folder / path).read_text(encoding="utf-8")).body
    kinds = (ast.ClassDef, ast.FunctionDef)
    for part in name.split("."):
        (node,) = (node for node in body if isinstance(node, kinds) and node.name == part)
        body = node.body


def test_every_file_that_a_walk_names_is_with_a_function():
    for walk in WALKS.values():
        assert not re.search(r"`[\w/]+\.py`", walk)
