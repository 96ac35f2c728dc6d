"""Finds out how this package was installed, and so the command that installs an extra of it."""

import importlib.metadata
import json
import pathlib
import shlex
import urllib.parse
import urllib.request

_NAME = "fastscale_jax"


def pip_install(extra: str) -> str:
    """Returns the command that installs an extra from where this package came from.

    Args:
        extra: a key of `EXTRAS` in `setup.py`.
    """
    source = _source()
    address = source.get("url", "")
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "file":  # a clone, or a wheel
        path = urllib.request.url2pathname(parts.path)
        if pathlib.Path(path).exists():
            editable = "-e " if source.get("dir_info", {}).get("editable") else ""
            return f"pip install {editable}{shlex.quote(f'{path}[{extra}]')}"
    return f"pip install '{_NAME}[{extra}]'"


def _source() -> dict:
    """Where pip got the package, if not from an index (PEP 610)."""
    try:
        noted = importlib.metadata.distribution(_NAME).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return {}
    return json.loads(noted) if noted else {}
