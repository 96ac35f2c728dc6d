"""Paths that mean the same wherever a command is started."""

import pytest

from fastscale_jax.utils.paths import absolute, is_same_path, slug


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("", ""),
        ("/a/b/", "/a/b"),
        ("b", "/here/b"),
        ("./b/../c/", "/here/c"),
        ("~/b", "/home/me/b"),
        ("gs://bucket/b/", "gs://bucket/b/"),
        ("s3://bucket/b", "s3://bucket/b"),
        ("hf:timm/x", "hf:timm/x"),
    ],
)
def test_a_path_becomes_absolute_and_an_address_stays(path, wanted, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("os.getcwd", lambda: "/here")
    assert absolute(path) == wanted


@pytest.mark.parametrize(
    ("recorded", "path", "same"),
    [
        ("/a/w.pth", "/a/w.pth", True),
        ("/a/w.pth", "/b/w.pth", False),
        ("w.pth", "/anywhere/w.pth", True),  # of an older version
        ("./x/w.pth", "/anywhere/x/w.pth", True),
        ("x/w.pth", "/anywhere/w.pth", False),
        ("", "/a/w.pth", False),
        ("", "", True),
    ],
)
def test_what_was_written_down_is_the_same_path(recorded, path, same):
    assert is_same_path(recorded, path) is same


@pytest.mark.parametrize(
    ("text", "part"),
    [("tpu:v5e:2x2", "tpu-v5e-2x2"), ("regnetz:500mf", "regnetz-500mf"), ("a b (c)", "a-b-c")],
)
def test_a_slug_has_no_characters_that_a_path_may_not_have(text, part):
    assert slug(text) == part
