"""Listings of images: what counts as one, what is passed over, and links that go round."""

import os

import pytest
from PIL import features

from fastscale_jax.data.sources import image_files as listing
from fastscale_jax.data.sources.image_files import PassedOver, find_images, suffixes


def write(root, *names):
    """Writes empty files; listing opens none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def found(path):
    """The images by their names below the path, and what was passed over."""
    passed_over = PassedOver()
    files = find_images(path, passed_over)
    return [str(file.relative_to(path)) for file in files], str(passed_over)


@pytest.mark.parametrize("name", ["photo", "notes.txt", ".hidden"])
def test_a_file_is_found_whatever_it_is_called(tmp_path, name):
    write(tmp_path, name)
    assert find_images(tmp_path / name, PassedOver()) == [tmp_path / name]


def test_images_are_found_in_folders_in_folders_sorted_by_their_suffix(tmp_path):
    images = ["a.png", "b/c.JPEG", "b/d/e.webp", "b-1/x.Gif", "z.jpg", "u.JFIF", "v.jpe", "w.Pgm"]
    images += [f"s{suffix}" for suffix in suffixes()]
    others = ["notes.txt", "b/labels.json", "png", "b/archive.png.zip"]
    write(tmp_path, *images, *others)
    (tmp_path / "folder.png").mkdir()
    wanted = sorted(tmp_path / name for name in images)
    names, passed_over = found(tmp_path)
    assert [tmp_path / name for name in names] == wanted
    assert passed_over == "4 files that are no images (.json, .txt, .zip, no suffix)"
    some = ["c.JPEG", "d/e.webp"], "2 files that are no images (.json, .zip)"
    assert found(tmp_path / "b") == some


HIDDEN = [".cache", "@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN", "#recycle"]


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_folders_are_passed_over_and_said(tmp_path, name):
    write(tmp_path, "a.png", f"{name}/b.png", f"deep/{name}/c/d.png", "deep/e.png")
    assert found(tmp_path) == (["a.png", "deep/e.png"], "2 hidden folders")
    # but not where one asks for it
    assert found(tmp_path / name) == (["b.png"], "nothing")


def test_hidden_files_are_passed_over_and_said(tmp_path):
    write(tmp_path, "a.png", "._a.png", "Thumbs.db", ".DS_Store", "desktop.ini", "b.txt")
    assert found(tmp_path) == (
        ["a.png"],
        "1 file that is no image (.txt) and 4 hidden files",
    )


def test_links_are_followed_but_not_round_and_round(tmp_path):
    write(tmp_path, "photos/a.png", "photos/deep/b.png", "elsewhere/c.png", "elsewhere/d.png")
    photos = tmp_path / "photos"
    (photos / "up").symlink_to(tmp_path)
    (photos / "deep" / "loop").symlink_to(photos)
    (photos / "itself").symlink_to(photos / "itself")
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    (photos / "one.png").symlink_to(tmp_path / "elsewhere" / "d.png")
    (tmp_path / "elsewhere" / "back").symlink_to(photos / "deep")
    names, passed_over = found(photos)
    assert names == ["a.png", "deep/b.png", "linked/c.png", "linked/d.png"]
    assert passed_over == (
        "2 links to folders that they are in, 2 files and folders that are there already and 1 "
        "link to nothing"
    )


def test_each_real_file_is_an_image_once(tmp_path):
    """Two links to one another's folders multiply what they lead to: 60 images became 2,460."""
    names = [f"{folder}/{i}.png" for folder in "ab" for i in range(30)]
    write(tmp_path, *names)
    for folder in "ab":
        for i, other in enumerate("abab"):
            (tmp_path / folder / f"link{i}").symlink_to(tmp_path / other)
        (tmp_path / folder / "again.png").symlink_to(tmp_path / folder / "0.png")
    os.link(tmp_path / "a" / "0.png", tmp_path / "a" / "hard.png")  # a name as good as the other
    files, passed_over = found(tmp_path)
    assert files == sorted([*names, "a/hard.png"])
    assert passed_over == "10 files and folders that are there already"
    # of one of them alone, the links to itself are loops
    files, passed_over = found(tmp_path / "a")
    assert len(files) == 61
    assert passed_over == (
        "4 links to folders that they are in and 5 files and folders that are there already"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_pipes_and_devices_are_no_images(tmp_path):
    write(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "d.png").symlink_to("/dev/zero")
    (tmp_path / "e.png").symlink_to(tmp_path / "gone.png")
    assert found(tmp_path) == (["a.png"], "3 pipes, sockets or devices and 1 link to nothing")


def test_nothing_and_a_folder_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no image or folder \S+/none"):
        find_images(tmp_path / "none", PassedOver())
    with pytest.raises(ValueError, match=rf"{tmp_path} has no image \(.*\.png.*\)$"):
        find_images(tmp_path, PassedOver())
    write(tmp_path, ".a.png", ".b.png")
    with pytest.raises(
        ValueError, match=r"has no image \(.*\.png.*\); passed over 2 hidden files$"
    ):
        find_images(tmp_path, PassedOver())


def test_a_folder_in_it_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    write(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def refuse(path):
        if path.endswith("closed"):
            raise PermissionError
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found(tmp_path) == (["a.png"], "1 folder that cannot be read")


@pytest.mark.parametrize(
    ("installed", "is_read", "passed_over"),
    [
        (True, True, "nothing"),
        (None, False, "1 image that cannot be read here (.heic: pip install pillow-heif)"),
    ],
)
def test_heic_files_are_images_where_they_can_be_read(
    tmp_path, monkeypatch, installed, is_read, passed_over
):
    write(tmp_path, "a.png", "b.HEIC")
    monkeypatch.setattr(listing.importlib.util, "find_spec", lambda name: installed)
    suffixes.cache_clear()
    try:
        assert found(tmp_path) == (["a.png", "b.HEIC"][: 1 + is_read], passed_over)
    finally:
        suffixes.cache_clear()


def test_avif_files_are_images_where_pillow_reads_them():
    assert (".avif" in suffixes()) == features.check("avif")


def test_many_suffixes_are_cut_short(tmp_path):
    write(tmp_path, "a.png", *(f"{i}.x{i}" for i in range(7)), "b.x0")
    text = "8 files that are no images (.x0, .x1, .x2, .x3, .x4, …)"
    assert found(tmp_path) == (["a.png"], text)
