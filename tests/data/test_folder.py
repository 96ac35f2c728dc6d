"""Folders: what is found in them, and what is refused before an image is opened."""

import pathlib

import numpy as np
import pytest

from fastscale_jax.data.sources import folder
from fastscale_jax.data.sources.image_files import PassedOver
from fastscale_jax.data.sources.source import check_source, class_names, load_source


def write(root: pathlib.Path, *names: str) -> pathlib.Path:
    """Writes empty files; listing opens none."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / "data", *(f"{s}/{c}/1.jpg" for s in folder.SPLITS for c in "ab"))


def test_images_are_listed_by_class_and_then_by_name_with_their_labels(root):
    write(root, "train/b/0.JPEG", "train/a/deep/er.png", "train/c/x.jpg", "val/c/x.jpg")
    write(root, "train/a/notes.txt", "train/a/._1.jpg", "train/.hidden/1.jpg", "train/readme")
    classes = folder.find_classes(root, 3)
    assert classes == ("a", "b", "c")
    paths, labels = folder.list_split(root / "train", classes, PassedOver())
    names = ["a/1.jpg", "a/deep/er.png", "b/0.JPEG", "b/1.jpg", "c/x.jpg"]
    assert [path.decode() for path in paths] == [str(root / "train" / name) for name in names]
    np.testing.assert_array_equal(labels, [0, 0, 1, 1, 2])
    assert labels.dtype == np.int32


def test_the_source_counts_what_is_listed(root):
    write(root, "train/a/2.jpg")
    source = load_source("folder", resolution=8, num_classes=2, directory=str(root))
    assert source.summary == "folder: 2 classes, 3 training and 2 test images"


def test_what_is_passed_over_is_said_with_the_size(root):
    write(root, "train/a/notes.txt", "val/b/clip.MP4", "val/b/more.txt", "train/a/._1.jpg")
    write(root, "train/.cache/1.jpg", "val/b/@eaDir/1.jpg", "train/labels.csv", "train/9.jpg")
    source = load_source("folder", resolution=8, num_classes=2, directory=str(root))
    assert source.summary == (
        "folder: 2 classes, 2 training and 2 test images; passed over 3 files that are no images "
        "(.txt, .mp4), 2 files outside the class folders, 1 hidden file and 2 hidden folders"
    )


@pytest.mark.parametrize("name", ["@eaDir", ".hidden", "__MACOSX", ".ipynb_checkpoints"])
def test_hidden_folders_and_those_of_systems_are_no_classes(root, name):
    write(root, f"train/{name}/1.jpg")
    assert folder.find_classes(root, 2) == ("a", "b")


def test_names_that_are_no_text_are_found(root):
    (root / "train/a" / b"\xff.jpg".decode(errors="surrogateescape")).write_bytes(b"")
    paths, _ = folder.list_split(root / "train", ("a",), PassedOver())
    assert paths[1] == bytes(root / "train/a") + b"/\xff.jpg"


@pytest.mark.parametrize(
    ("names", "num_classes", "message"),
    [
        ((), 3, r"has 2 classes, but the network has 3; set --config\.model\.num_classes=2$"),
        (("train/c/1.jpg",), 2, "must have the same classes; only train has c$"),
        (("val/c/1.jpg", "train/d/1.jpg"), 3, "only train has d; only val has c$"),
        (("train/c/x.txt", "val/c/1.jpg"), 3, r"class folder \S+/train/c has no image \(.*\.png"),
        (("train/c/1.jpg", "val/c/x.txt"), 3, r"class folder \S+/val/c has no image"),
    ],
)
def test_folders_that_do_not_fit_are_refused_with_what_would(root, names, num_classes, message):
    write(root, *names)
    with pytest.raises(ValueError, match=message):
        check_source("folder", num_classes, directory=str(root))


@pytest.mark.parametrize(
    ("names", "directory", "message"),
    [
        ((), "", r"needs --config\.data\.dir, a folder that holds train/<class>/ and val/<class>/"),
        (
            (),
            "none",
            r"none cannot be read: No such .*; without data, try --config\.data\.na",
        ),
        (("data/train/a/1.jpg",), "data", r"data/val cannot be read: No such file or directory"),
        (("data/train/x", "data/val/x"), "data", "data/train has no folders"),
        (("data",), "data", "data cannot be read: Not a directory"),
    ],
)
def test_a_folder_that_is_not_there_is_refused(tmp_path, names, directory, message):
    write(tmp_path, *names)
    with pytest.raises(ValueError, match=message) as caught:
        check_source("folder", 2, directory=directory and str(tmp_path / directory))
    assert len(str(caught.value).splitlines()) == 1


def test_classes_are_called_as_their_folders_or_as_imagenet_s_numbers_mean(tmp_path):
    numbers = ("n01440764", "n01443537", "other")
    write(tmp_path, *(f"{s}/{c}/1.jpg" for s in folder.SPLITS for c in numbers))
    found = class_names("folder", 3, directory=str(tmp_path))
    assert found == ("tench", "goldfish", "other")


def test_classes_of_a_folder_that_is_gone_are_numbered_and_a_thousand_imagenet_s(tmp_path):
    assert class_names("folder", 3, directory=str(tmp_path)) == ("0", "1", "2")
    assert class_names("folder", 1000, directory=str(tmp_path))[207] == "golden retriever"


def test_a_folder_of_classes_alone_is_split_by_class(tmp_path):
    write(tmp_path, *(f"{c}/{i}.jpg" for c in ("cat", "dog") for i in range(20)))
    options = {"directory": str(tmp_path), "resolution": 8}
    source = load_source("folder", holdout=0.25, **options)
    assert source.classes == ("cat", "dog")
    for split, each in ((source.train, 15), (source.test, 5)):
        np.testing.assert_array_equal(np.bincount(split.labels), [each, each])
        for path, label in zip(split.paths, split.labels, strict=True):
            assert f"/{source.classes[label]}/" in path.decode()
    every = {*source.train.paths, *source.test.paths}
    assert len(every) == source.train.examples + source.test.examples == 40
    again = load_source("folder", holdout=0.25, **options)
    np.testing.assert_array_equal(again.test.paths, source.test.paths)
    another = load_source("folder", holdout=0.25, holdout_seed=1, **options)
    assert {*another.test.paths} != {*source.test.paths}


@pytest.mark.parametrize(
    ("names", "holdout", "message"),
    [
        (("a/1.jpg", "a/2.jpg", "b/1.jpg"), 0.1, "the class 'b' has 1 image, too few to hold one"),
        (("a/1.jpg", "a/2.jpg"), 0.0, r"data\.holdout must be above 0 and below 1, .* got 0$"),
        (
            ("a/1.jpg", "a/2.jpg", "b/x.txt"),
            0.1,
            r"class folder \S+/b has no image .*; add some",
        ),
    ],
)
def test_a_holdout_that_leaves_a_class_empty_is_refused(tmp_path, names, holdout, message):
    write(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        load_source("folder", directory=str(tmp_path), holdout=holdout)


@pytest.mark.parametrize("name", folder.SPLITS)
def test_a_class_may_be_called_like_a_split(tmp_path, name):
    write(tmp_path, *(f"{c}/{i}.jpg" for c in ("bus", name) for i in range(3)))
    assert folder.find_classes(tmp_path, 0) == tuple(sorted(("bus", name)))


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_a_folder_for_a_source_that_reads_none_is_refused(tmp_path, name):
    with pytest.raises(
        ValueError, match=r"reads no files; did you mean --config\.data\.name=folder"
    ):
        check_source(name, 10, directory=str(tmp_path))


def test_links_to_the_folder_of_the_classes_make_no_class_and_no_images(tmp_path):
    write(tmp_path, *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)))
    write(tmp_path, "cat/.ipynb_checkpoints/0.png", "dog/@eaDir/1.png/SYNOPHOTO.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)  # would be a class of all images
    (tmp_path / "cat" / "up").symlink_to(tmp_path)  # would make cats of the dogs
    source = load_source("folder", directory=str(tmp_path), holdout=0.3)
    assert source.classes == ("cat", "dog")
    assert source.train.examples + source.test.examples == 6
    assert source.passed_over == "2 hidden folders and 2 links to folders that they are in"
