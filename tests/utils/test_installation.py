"""What to type for an extra, by where the package came from."""

import importlib.metadata
import json
import types

import pytest

from fastscale_jax.utils.installation import pip_install


@pytest.mark.parametrize(
    ("noted", "command"),
    [
        (None, "pip install 'fastscale_jax[data]'"),  # from an index
        ({"url": "file://HERE", "dir_info": {"editable": True}}, "pip install -e 'HERE[data]'"),
        ({"url": "file://HERE", "dir_info": {}}, "pip install 'HERE[data]'"),
        ({"url": "file://HERE/x.whl", "archive_info": {}}, "pip install 'HERE/x.whl[data]'"),
        ({"url": "file://HERE/gone.whl"}, "pip install 'fastscale_jax[data]'"),
        ({"url": "https://host/x.whl"}, "pip install 'fastscale_jax[data]'"),
    ],
)
def test_an_extra_comes_from_where_the_package_came_from(tmp_path, monkeypatch, noted, command):
    (tmp_path / "x.whl").touch()
    text = noted and json.dumps(noted).replace("HERE", str(tmp_path))
    distribution = types.SimpleNamespace(read_text=lambda name: text)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: distribution)
    assert pip_install("data") == command.replace("HERE", str(tmp_path))


def test_a_package_that_was_not_installed_is_asked_for_by_name(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert pip_install("data") == "pip install 'fastscale_jax[data]'"
