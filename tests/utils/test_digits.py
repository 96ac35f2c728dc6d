"""Numbers are written with the digits 0 to 9, wherever they are read."""

import pytest

from fastscale_jax.arch import strategies, variants
from fastscale_jax.checkpoints.saved import steps_in
from fastscale_jax.checkpoints.stores import Folder
from fastscale_jax.cli.application import main
from fastscale_jax.targets.target import Target
from fastscale_jax.utils.digits import four_digits, is_whole, other_digits

FOUR = "٤"  # which Python's int and float, and \d, take for 4


@pytest.mark.parametrize(
    "text", [f"dWr_x{FOUR}", f"a0.{FOUR}_x2", f"dWr_1{FOUR}gf", "dWr_16\u0261f"]
)
def test_a_variant_has_ascii_digits_alone(text):
    assert int(FOUR) == 4
    assert variants.parsed(text) is None
    assert not strategies.is_strategy(f"a0.{FOUR}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", "digits", f"--config.train.epochs={FOUR}"),
        ("info", "digits", f"--config.optim.learning_rate=0.{FOUR}"),
        ("info", "digits", f"--config.optim.step_epochs=({FOUR},)"),
        ("predict", "x.png", "--top", FOUR),
        ("memory", "digits", f"--memory_gb={FOUR}"),
        ("curves", f"--factors=1,{FOUR}"),
    ],
)
def test_arguments_have_ascii_digits_alone(arguments, capsys):
    assert main(arguments) == 2
    assert f"numbers are written with the digits 0 to 9; got {FOUR}" in capsys.readouterr().err


def test_names_may_have_any_digits():
    assert other_digits(f"photos{FOUR}/1.png") == ""
    assert not is_whole(FOUR)
    assert is_whole("10")


def test_neither_targets_nor_steps_have_other_digits(tmp_path):
    with pytest.raises(ValueError, match="give a number of GPUs"):
        Target.parse(f"gpu:h100:{FOUR}")
    for name in ("4", FOUR, "04", "damaged-3"):
        (tmp_path / name).mkdir()
    assert steps_in(Folder(tmp_path)) == [4]


@pytest.mark.parametrize(
    ("number", "text"),
    [(24361.2, "24,360"), (2.43612, "2.436"), (0.00012345, "0.0001234"), (1e7 / 3, "3,333,000")],
)
def test_numbers_have_four_digits_and_no_exponent(number, text):
    assert four_digits(number) == text
