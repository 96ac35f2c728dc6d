"""A command that is silent for long says what it does."""

import functools
import threading

from fastscale_jax.cli import status_line
from fastscale_jax.logs.ticking import ticking


def test_what_takes_long_is_said_and_what_does_not_is_not(monkeypatch, capsys):
    waited, is_asked_again = [], threading.Event()

    def wait(done, seconds):
        waited.append(seconds)
        if len(waited) == 1:
            return False
        is_asked_again.set()
        return done.wait()

    monkeypatch.setattr(status_line, "ticking", functools.partial(ticking, wait=wait))
    with status_line.told_if_long("listing the images in photos"):
        assert is_asked_again.wait(60)
    with status_line.told_if_long("listing others"):
        pass
    assert capsys.readouterr().err == "fastscale_jax: listing the images in photos, 0 s\n"
    assert 19 < waited[0] <= 20
    assert 39 < waited[1] <= 40
