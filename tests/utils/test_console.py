"""Lines on stderr: one line each, not too long, and nothing that a terminal would obey."""

import pytest

from fastscale_jax.arch.bases import FAMILIES
from fastscale_jax.arch.zoo import spelled
from fastscale_jax.utils.console import MOST_CHARACTERS, complain, in_a_line, printable


def test_of_a_long_line_long_words_are_shortened_first():
    path = f"/tmp/{'deep/' * 30}weights.safetensors"
    said = f"{path}: these are not the weights of the network; " + "it has others " * 8
    line = in_a_line(f"{said}; choose --config.model.padding=same")
    shown = "/tmp/deep/…eep/deep/weights.safetensors"
    assert line == f"{shown}{said[len(path) :]}; choose --config.model.padding=same"
    assert in_a_line(path) == path  # it is not too long


@pytest.mark.parametrize("long", ["word " * 1000, "a word " * 900, "\n" * 400 + "é é" * 301])
def test_a_long_line_keeps_its_beginning_and_its_end(long):
    message = f"--output={long} cannot be written; choose another"
    line = in_a_line(message)
    assert 250 < len(line) <= MOST_CHARACTERS == 300
    assert {*line.split()} <= {*message.split(), "…"}  # no word is cut
    assert line.startswith("--output=")
    assert line.endswith("cannot be written; choose another")
    assert " … " in line


def test_a_line_of_the_usual_length_stays_as_it_is():
    assert in_a_line("x" * 300) == "x" * 300
    assert in_a_line("two\n lines\tin  one") == "two lines in one"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ev\x1b[31mil.jpg", r"ev\x1b[31mil.jpg"),
        ("gpj.\u202egnp.exe", r"gpj.\u202egnp.exe"),  # a terminal would show it backwards
        ("\x07bell\x9b", r"\x07bell\x9b"),
        ("not utf-8 \udcff", r"not utf-8 \udcff"),
        ("zażółć 写真 🙂", "zażółć 写真 🙂"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(name, shown, capsys):
    assert printable(name) == shown
    complain(f"{name} is not an image")
    assert capsys.readouterr().err == f"fastscale_jax: {shown} is not an image\n"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grammar_of_variants_fits_into_a_line(family):
    with pytest.raises(ValueError, match="did you mean dWr_16gf") as caught:
        spelled(family, "dWr_16gff")
    assert in_a_line(str(caught.value)) == str(caught.value)
