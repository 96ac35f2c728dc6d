"""Data sets in files, written once for all tests."""

import pathlib

import pytest

from tests.data.photos import write_folder


@pytest.fixture(scope="session")
def folder_of_photos(tmp_path_factory) -> pathlib.Path:
    """A folder of 16 photographs to train and 6 to test, of two classes."""
    return write_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def tfds_photos(tmp_path_factory) -> pathlib.Path:
    """TFDS's `data_dir` with `tiny_photos`, 21 to train and 5 to test, and its variants."""
    # here, because it imports TensorFlow
    from tests.data.tiny_photos import prepare

    root = tmp_path_factory.mktemp("tfds")
    prepare(root)
    return root
