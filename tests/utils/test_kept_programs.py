"""What the tests keep of compiled programs, from one run to the next."""

import os

import pytest

from tests import kept_programs
from tests.kept_programs import exchange, give, take


@pytest.fixture
def folders(tmp_path):
    kept, folder = tmp_path / "kept", tmp_path / "run" / "programs"
    take(kept, folder)
    return kept, folder


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_the_next_run_has_what_this_one_compiled(folders, tmp_path):
    kept, folder = folders
    (folder / "a-cache").write_bytes(b"program")
    give(folder, kept)
    assert not folder.exists()
    take(kept, tmp_path / "next")
    assert (tmp_path / "next" / "a-cache").read_bytes() == b"program"


def test_what_is_written_or_removed_in_a_run_leaves_the_kept_files_alone(folders, tmp_path):
    kept, folder = folders
    (folder / "a-cache").write_bytes(b"program")
    give(folder, kept)
    take(kept, tmp_path / "next")
    (tmp_path / "next" / "a-cache").unlink()
    (tmp_path / "next" / "b-cache").write_bytes(b"half")
    assert names(kept) == ["a-cache"]


def test_a_program_that_two_workers_compiled_is_kept_once(folders, tmp_path):
    kept, folder = folders
    other = tmp_path / "other"
    take(kept, other)
    for at in (folder, other):
        (at / "a-cache").write_bytes(b"program")
        give(at, kept)
    assert names(kept) == ["a-cache"]


def test_processes_side_by_side_exchange_what_they_compile(folders, tmp_path):
    kept, folder = folders
    other = tmp_path / "other"
    take(kept, other)
    (folder / "a-cache").write_bytes(b"ours")
    (other / "b-cache").write_bytes(b"theirs")
    for at in (folder, other, folder):
        exchange(at, kept)
    assert names(folder) == names(other) == names(kept) == ["a-cache", "b-cache"]
    assert (folder / "b-cache").read_bytes() == b"theirs"


def test_what_was_written_first_makes_room(folders):
    kept, folder = folders
    for age, name in enumerate(("new", "middle", "old")):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    give(folder, kept, most_bytes=250)
    assert names(kept) == ["middle", "new"]


def test_a_file_that_another_run_removes_meanwhile_is_passed_over(folders, tmp_path, monkeypatch):
    kept, folder = folders
    for name in ("gone", "stays"):
        (folder / name).write_bytes(b"program")
    give(folder, kept)

    def with_one_more(folder, listed=kept_programs._files):
        return [*listed(folder), folder / "removed"]

    monkeypatch.setattr(kept_programs, "_files", with_one_more)
    take(kept, tmp_path / "next")
    assert names(tmp_path / "next") == ["gone", "stays"]
    (tmp_path / "next" / "removed").write_bytes(b"program")
    (kept / "removed").write_bytes(b"program")
    give(tmp_path / "next", kept)
    assert names(kept) == ["gone", "removed", "stays"]


def test_what_another_run_is_writing_is_no_program(folders, tmp_path):
    kept, folder = folders
    (kept / ".unfinished").mkdir()
    give(folder, kept)
    take(kept, tmp_path / "next")
    assert names(tmp_path / "next") == []
