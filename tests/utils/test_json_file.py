"""JSON files of others: what is wrong with them is told from a store that is not reached."""

import pytest

from fastscale_jax.utils.json_file import parsed, read_json


class InStore:
    """A path of an object store whose reading fails."""

    def __init__(self, error):
        self.error = error

    def __fspath__(self):
        return "gs://bucket/config.json"

    def read_bytes(self):
        raise self.error


@pytest.mark.parametrize("error", [OSError("503"), TimeoutError("slow"), FileNotFoundError()])
def test_a_store_that_is_not_reached_says_nothing_of_the_file(error):
    with pytest.raises(type(error)):
        read_json(InStore(error))


def test_a_folder_in_the_place_of_a_file_is_damage_wherever_it_is(tmp_path):
    for path in (tmp_path, InStore(IsADirectoryError("a folder"))):
        with pytest.raises(ValueError, match="a folder"):
            read_json(path)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a": ', "}")])
def test_five_hundred_levels_are_read_and_one_more_is_not(opening, closing):
    assert parsed(opening * 500 + "0" + closing * 500)
    for levels in (501, 5000, 200_000):  # Python's own parser has another limit in each release
        with pytest.raises(ValueError, match="it is nested too deeply"):
            parsed(opening * levels + "0" + closing * levels)
