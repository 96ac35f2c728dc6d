"""The manual's tables and figures are what files of results and code say."""

import io
import sys

import pytest
from matplotlib.figure import Figure
from PIL import Image

from docs import make, make_photographs, make_tables, pictures
from docs.maker import Maker, run

# the photographs' table needs weights and is tested in tests/interop/test_real_weights.py
PARTS = [
    pytest.param(name, marks=[pytest.mark.slow] * (name == "augmentations"))
    for name in make.MAKERS
    if name != "photographs"
]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_manual_is_what_would_be_made_now(part):
    assert make.MAKERS[part].differing() == [], f"run python -m docs.make {part} --write"


def test_the_picture_shows_the_photographs_that_packages_install():
    pytest.importorskip("skimage")
    assert make_photographs.has_picture()


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="no <!-- table: named networks --> followed by"):
        make_tables.with_tables("# Architectures\n", make_tables.TABLES["architectures.md"])


def missing():
    raise ModuleNotFoundError("No module named 'efficientnet_lite0'", name="efficientnet_lite0")


@pytest.mark.parametrize(
    ("arguments", "status", "made", "printed"),
    [
        ([], 1, [], "page.md differs: python -m docs.make second --write\n"),
        (["first"], 0, [], ""),
        (["--write"], 0, ["first", "second"], ""),
        (["second", "--write"], 0, ["second"], ""),
    ],
    ids=str,
)
def test_the_command_checks_or_makes_all_that_it_can(
    arguments, status, made, printed, monkeypatch, capsys
):
    done = []
    makers = {
        "first": Maker(list, lambda: done.append("first")),
        "second": Maker(lambda: ["page.md"], lambda: done.append("second")),
        "third": Maker(missing, missing),
    }
    monkeypatch.setattr(make, "MAKERS", makers)
    monkeypatch.setattr(sys, "argv", ["docs.make", *arguments])
    assert make.main() == status
    told = capsys.readouterr()
    assert (done, told.out) == (made, printed)
    asked = {*arguments} & {*makers}
    assert told.err == ("" if asked else "third left out: No module named 'efficientnet_lite0'\n")


def test_a_module_that_should_be_here_is_not_passed_over(monkeypatch):
    def misspelt():
        raise ModuleNotFoundError("No module named 'nunpy'", name="nunpy")

    monkeypatch.setattr(make, "MAKERS", {"first": Maker(misspelt, misspelt)})
    monkeypatch.setattr(sys, "argv", ["docs.make"])
    with pytest.raises(ModuleNotFoundError, match="nunpy"):
        make.main()


@pytest.mark.parametrize(
    ("arguments", "status", "printed"),
    [([], 1, "page.md differs; python -m docs.make_x --write\n"), (["--write"], 0, "made\n")],
    ids=str,
)
def test_a_maker_is_a_command_too(arguments, status, printed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["docs.make_x", *arguments])
    maker = Maker(lambda: ["page.md"], lambda: print("made"))
    assert run("Makes x.", maker, "docs.make_x") == status
    assert capsys.readouterr().out == printed


def drawn(*, last=3.0, title="a", label="b", scale="log", bar=1.0, dot=2.0):
    figure = Figure(figsize=(2, 2))
    axes = figure.add_subplot()
    axes.plot([1, 2], [1, last], label=label)
    axes.bar([1], [bar])
    axes.scatter([1], [dot])
    axes.set(title=title, xscale=scale)
    axes.legend()
    return figure


@pytest.mark.parametrize(
    "change",
    [{"last": 3.1}, {"title": "c"}, {"label": "c"}, {"scale": "linear"}, {"bar": 2}, {"dot": 1}],
    ids=str,
)
def test_a_figure_that_shows_anything_else_differs(change, tmp_path):
    path = tmp_path / "figure.png"
    assert not pictures.is_of(path, drawn())
    pictures.write(drawn(), path)
    assert pictures.is_of(path, drawn())
    assert not pictures.is_of(path, drawn(**change))


def test_the_renderer_and_rounding_do_not_count(tmp_path):
    pictures.write(drawn(), tmp_path / "figure.png")
    other = drawn(last=3.0 + 1e-9)
    other.dpi = 50
    assert pictures.is_of(tmp_path / "figure.png", other)


def photograph(*, quality=85, patch=(120, 60, 30)):
    image = Image.linear_gradient("L").convert("RGB")
    image.paste(patch, (40, 40, 72, 72))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def test_a_photograph_may_be_encoded_again_and_not_be_another(tmp_path):
    path = tmp_path / "photograph.jpg"
    assert not pictures.look_alike(path, photograph())
    path.write_bytes(photograph())
    assert pictures.look_alike(path, photograph(quality=70))
    assert not pictures.look_alike(path, photograph(patch=(120, 90, 30)))
