"""A log that cannot be written stops nothing."""

import io

from fastscale_jax.utils.console import complain, lenient, stderr_console


class Full(io.StringIO):
    """A stream on a full disk, as /dev/full is."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise OSError(28, "No space left on device")


def test_what_cannot_be_written_is_passed_over(monkeypatch):
    monkeypatch.setattr("sys.stderr", Full())
    complain("a line")
    console = stderr_console()
    console.print("a table")
    with console.status("a live line"):
        pass


def test_what_can_be_written_is():
    stream = io.StringIO()
    print("a line", file=lenient(stream))
    assert stream.getvalue() == "a line\n"
    assert lenient(stream).isatty() is False
