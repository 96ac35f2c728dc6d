"""An image on a disk that fails for a moment is no bad image."""

import errno
import os

import numpy as np
import pytest
from PIL import Image

from fastscale_jax.data.sources import patience
from fastscale_jax.data.sources.bad_images import BadImages
from fastscale_jax.data.sources.images import most_bytes
from fastscale_jax.data.sources.patience import patiently
from fastscale_jax.data.sources.reading import read_in_python
from fastscale_jax.utils import guarded_file


@pytest.fixture
def failing(monkeypatch):
    """Lets reading fail a number of times, each with an error; counts the tries."""
    read, tries = guarded_file.read, []

    def set_up(number, times):
        def fail_first(path):
            tries.append(path)
            if len(tries) <= times:
                raise OSError(number, os.strerror(number))
            return read(path)

        monkeypatch.setattr(guarded_file, "read", fail_first)
        return tries

    return set_up


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE])
def test_an_error_that_may_pass_is_met_with_more_tries_ever_later(tmp_path, failing, number):
    path, waited = tmp_path / "x", []
    path.write_bytes(b"all of it")
    failing(number, times=4)
    assert patiently(lambda: guarded_file.read(path), waited.append) == b"all of it"
    assert waited == [0.1, 0.4, 1.6, 6.4]


@pytest.mark.parametrize(("number", "times", "tries"), [(errno.EIO, 9, 5), (errno.ENOENT, 9, 1)])
def test_one_that_does_not_pass_ends_the_tries(tmp_path, failing, number, times, tries):
    made = failing(number, times)
    with pytest.raises(OSError, match=os.strerror(number)):
        patiently(lambda: guarded_file.read(tmp_path / "x"), lambda seconds: None)
    assert len(made) == tries


def test_an_image_that_fails_once_is_not_counted_as_bad(tmp_path, failing, monkeypatch):
    path, bad = tmp_path / "x.png", BadImages(1)
    Image.new("RGB", (3, 2), (1, 2, 3)).save(path)
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)
    failing(errno.EIO, times=1)
    pixels, is_read = read_in_python(str(path), bad)
    assert is_read
    np.testing.assert_array_equal(pixels, np.full((2, 3, 3), (1, 2, 3), np.uint8))
    assert len(bad) == 0


def test_a_pipe_in_the_place_of_an_image_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    bad = BadImages(1)
    _, is_read = read_in_python(str(tmp_path / "x.png"), bad)
    assert not is_read
    assert len(bad) == 1


def test_a_file_that_is_too_long_is_not_read_into_memory(tmp_path, monkeypatch):
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(most_bytes(100) + 1)
    monkeypatch.setattr(guarded_file, "read", None)
    bad = BadImages(1)
    _, is_read = read_in_python(str(tmp_path / "x.png"), bad, max_pixels=100)
    assert not is_read
    assert len(bad) == 1
